"""EnCodec's decoder as products: SEANet (Défossez et al. 2022, §3.1), the numbers of transformers' `EncodecDecoder`.

What a time step holds lies side by side, [n, channels], so that nothing has to be turned round or packed: a convolution
is a product with as many steps side by side as it has taps, and a transposed convolution, whose size is a multiple of
its stride, one whose outputs are those of a whole stride. On two cores that takes half the time of the convolutions
themselves, a quarter where the native kernels have tiles for it (`products.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from tonewheel.engine.kernels import Kernels
from tonewheel.models.musicgen.products import Room, product_of


class Layers:
    """Some of a decoder's layers in a row, without its LSTM. What they make lies in `room`, until it is used again."""

    def __init__(self, layers: Iterable[nn.Module], kernels: Kernels, room: Room) -> None:
        self._layers: list[_Convolution | _Upsampling | _Residual] = []
        activated = False
        for layer in layers:
            if isinstance(layer, nn.ELU):
                activated = True
            else:
                self._layers.append(_layer_of(layer, activated, kernels, room))
                activated = False

    def __call__(self, x: Tensor) -> Tensor:
        """x [n, channels], which stays as it is → [n · strides, other channels]."""
        for layer in self._layers:
            x = layer(x)
        return x


def _layer_of(layer: Any, activated: bool, kernels: Kernels, room: Room) -> _Convolution | _Upsampling | _Residual:
    if hasattr(layer, "block"):
        return _Residual(layer, kernels, room)
    if isinstance(layer.conv, nn.ConvTranspose1d):
        return _Upsampling(layer, kernels, room)
    return _Convolution(layer, activated, kernels, room)


class _Convolution:
    """A convolution of stride 1 with edges reflected, after an ELU where it is `activated`."""

    def __init__(self, layer: Any, activated: bool, kernels: Kernels, room: Room, where: str = "made") -> None:
        conv = layer.conv
        self._taps, self._dilation, self._outputs = conv.kernel_size[0], conv.dilation[0], conv.out_channels
        total = (self._taps - 1) * self._dilation
        self._left = total if layer.causal else total - total // 2
        self._right = total - self._left
        self._mode, self._activated, self._bias = layer.pad_mode, activated, conv.bias
        self._room, self._where = room, where
        weight = conv.weight.permute(2, 1, 0)  # [taps, in, out]
        self._alone = self._outputs < self._taps  # a step is multiplied by all taps at once, and then summed
        if self._alone:
            weight = weight.permute(1, 0, 2).flatten(1)[None]
        self._width = weight.shape[2]
        bias, dilation = (None, 1) if self._alone else (conv.bias, self._dilation)
        self._product = product_of(kernels, room, weight, bias, dilation)

    def __call__(self, x: Tensor) -> Tensor:
        """x [n, in] → [n, out]. x stays as it is."""
        n, x = len(x), self._padded(x)
        each = self._room.floats(self._where, len(x) if self._alone else n, self._width)
        self._product(x, each)
        if not self._alone:
            return each
        made: Tensor = each[:n, : self._outputs] + self._bias
        for tap in range(1, self._taps):
            start = tap * self._dilation
            made += each[start : start + n, tap * self._outputs : (tap + 1) * self._outputs]
        return made

    def _padded(self, x: Tensor) -> Tensor:
        """[n, channels] → activated, with what lies beyond the edges: [left + n + right, channels]."""
        n, left, right = len(x), self._left, self._right
        if not self._activated and not left + right:
            return x
        made = self._room.floats("padded", left + n + right, x.shape[1])
        middle = made[left : left + n]
        if self._activated:
            torch.ops.aten.elu.out(x, out=middle)
        else:
            middle.copy_(x)
        if not left + right:
            return made
        if self._mode != "reflect" or n <= max(left, right):
            return _pad_short(middle, left, right, self._mode)
        made[:left] = middle[1 : left + 1].flip(0)
        made[left + n :] = middle[n - 1 - right : n - 1].flip(0)
        return made


class _Upsampling:
    """A transposed convolution after an ELU; the edges of what it makes are cut off."""

    def __init__(self, layer: Any, kernels: Kernels, room: Room) -> None:
        conv = layer.conv
        self._stride, self._outputs, self._room = conv.stride[0], conv.out_channels, room
        total = conv.kernel_size[0] - self._stride
        self._left = total - (math.ceil(total * layer.trim_right_ratio) if layer.causal else total // 2)
        # [in, out, size] → [strides, in, stride · out]: the last stride that an input reaches is that of the first tap
        weight = conv.weight.unflatten(2, (-1, self._stride)).permute(2, 0, 3, 1).flatten(2).flip(0)
        self._before = len(weight) - 1
        self._product = product_of(kernels, room, weight, conv.bias.repeat(self._stride), 1)

    def __call__(self, x: Tensor) -> Tensor:
        """x [n, in], which stays as it is → [n · stride, out]."""
        n, before = len(x), self._before
        padded = self._room.floats("padded", before + n + before, x.shape[1])
        padded[:before] = 0
        padded[before + n :] = 0
        torch.ops.aten.elu.out(x, out=padded[before : before + n])
        made = self._room.floats("made", n + before, self._stride * self._outputs)
        self._product(padded, made)
        return made.view(-1, self._outputs)[self._left : self._left + n * self._stride]


class _Residual:
    """x and two convolutions of it."""

    def __init__(self, layer: Any, kernels: Kernels, room: Room) -> None:
        self._first = _Convolution(layer.block[1], True, kernels, room, "between")
        self._second = _Convolution(layer.block[3], True, kernels, room, "more")
        plain = isinstance(layer.shortcut, nn.Identity)
        self._shortcut = None if plain else _Convolution(layer.shortcut, False, kernels, room, "other")

    def __call__(self, x: Tensor) -> Tensor:
        """x [n, channels], which it writes into → [n, channels]."""
        more = self._second(self._first(x))
        if self._shortcut is not None:
            x.copy_(self._shortcut(x))
        return x.add_(more)


def _pad_short(x: Tensor, left: int, right: int, mode: str) -> Tensor:
    """[n, channels] → [left + n + right, channels]; what is shorter than its reflection goes on with zeros first."""
    more = max(0, max(left, right) - len(x) + 1) if mode == "reflect" else 0
    longer = nn.functional.pad(x.t()[None], (0, more))
    padded = nn.functional.pad(longer, (left, right), "constant" if mode == "zero" else mode)
    return padded[0, :, : left + len(x) + right].t().contiguous()
