"""EnCodec's decoder as products: SEANet (Défossez et al. 2022, §3.1), the numbers of transformers' `EncodecDecoder`.

What a time step holds lies side by side, [n, channels], so that nothing has to be turned round or packed: a convolution
is a product for each of its taps, summed in place, and a transposed convolution, whose size is a multiple of its
stride, a product for each stride that it covers. On two cores that takes half the time of the convolutions themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Layers:
    """Some of a decoder's layers in a row, without its LSTM."""

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        self._layers: list[Convolution | Upsampling | Residual] = []
        activated = False
        for layer in layers:
            if isinstance(layer, nn.ELU):
                activated = True
            else:
                self._layers.append(_layer_of(layer, activated))
                activated = False

    def __call__(self, x: Tensor) -> Tensor:
        """x [n, channels] → [n · strides, other channels]. It may write into x."""
        for layer in self._layers:
            x = layer(x)
        return x


def _layer_of(layer: Any, activated: bool) -> Convolution | Upsampling | Residual:
    if hasattr(layer, "block"):
        return Residual(layer)
    return Upsampling(layer) if isinstance(layer.conv, nn.ConvTranspose1d) else Convolution(layer, activated)


class Convolution:
    """A convolution of stride 1 with edges reflected, after an ELU where it is `activated`."""

    def __init__(self, layer: Any, activated: bool) -> None:
        conv = layer.conv
        self._taps, self._dilation, self._outputs = conv.kernel_size[0], conv.dilation[0], conv.out_channels
        total = (self._taps - 1) * self._dilation
        self._left = total if layer.causal else total - total // 2
        self._right = total - self._left
        self._mode, self._activated, self._bias = layer.pad_mode, activated, conv.bias
        # [taps, in, out]; where there are fewer outputs than taps, [taps · out, in] for all of them in one product
        order = (2, 0, 1) if self._outputs < self._taps else (2, 1, 0)
        self._weight = conv.weight.permute(order).contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        """x [n, in] → [n, out]. x stays as it is, but for the ELU where nothing is reflected."""
        n, x = len(x), self._padded(x)
        if self._outputs < self._taps:
            each = (self._weight.flatten(0, 1) @ x.t()).view(self._taps, self._outputs, -1)
            made = each[0, :, :n] + self._bias[:, None]
            for tap, start in enumerate(self._starts(1), 1):
                made += each[tap, :, start : start + n]
            turned: Tensor = made.t()
            return turned
        return self._summed(torch.addmm(self._bias, x[:n], self._weight[0]), x)

    def add_to(self, sum_: Tensor, x: Tensor) -> Tensor:
        """The same, added to `sum_` in place."""
        if self._outputs < self._taps:
            return sum_.add_(self(x))
        n, x = len(x), self._padded(x)
        return self._summed(sum_.add_(self._bias).addmm_(x[:n], self._weight[0]), x)

    def _summed(self, sum_: Tensor, x: Tensor) -> Tensor:
        """With the taps after the first one."""
        for tap, start in enumerate(self._starts(1), 1):
            sum_.addmm_(x[start : start + len(sum_)], self._weight[tap])
        return sum_

    def _starts(self, first: int) -> Sequence[int]:
        return range(first * self._dilation, self._taps * self._dilation, self._dilation)

    def _padded(self, x: Tensor) -> Tensor:
        """[n, channels] → activated, with what lies beyond the edges: [left + n + right, channels]."""
        n, left, right = len(x), self._left, self._right
        if not left + right:
            return nn.functional.elu_(x) if self._activated else x
        made = x.new_empty(left + n + right, x.shape[1])
        middle = made[left : left + n]
        if self._activated:
            torch.ops.aten.elu.out(x, out=middle)
        else:
            middle.copy_(x)
        if self._mode != "reflect" or n <= max(left, right):
            return _pad_short(middle, left, right, self._mode)
        made[:left] = middle[1 : left + 1].flip(0)
        made[left + n :] = middle[n - 1 - right : n - 1].flip(0)
        return made


class Upsampling:
    """A transposed convolution after an ELU; the edges of what it makes are cut off."""

    def __init__(self, layer: Any) -> None:
        conv = layer.conv
        self._stride, self._outputs = conv.stride[0], conv.out_channels
        total = conv.kernel_size[0] - self._stride
        self._left = total - (math.ceil(total * layer.trim_right_ratio) if layer.causal else total // 2)
        parts = conv.weight.permute(2, 0, 1).split(self._stride)  # [in, out, size] → [stride, in, out] each
        self._weights = [part.permute(1, 0, 2).reshape(conv.in_channels, -1).contiguous() for part in parts]
        self._bias = conv.bias.repeat(self._stride)

    def __call__(self, x: Tensor) -> Tensor:
        """x [n, in], which it writes into → [n · stride, out]."""
        n, x = len(x), nn.functional.elu_(x)
        made = x.new_empty(n + len(self._weights) - 1, self._stride * self._outputs)
        torch.addmm(self._bias, x, self._weights[0], out=made[:n])
        made[n:] = self._bias
        for late, weight in enumerate(self._weights[1:], 1):
            made[late : late + n].addmm_(x, weight)
        return made.view(-1, self._outputs)[self._left : self._left + n * self._stride]


class Residual:
    """x and two convolutions of it."""

    def __init__(self, layer: Any) -> None:
        self._first = Convolution(layer.block[1], True)
        self._second = Convolution(layer.block[3], True)
        self._shortcut = None if isinstance(layer.shortcut, nn.Identity) else Convolution(layer.shortcut, False)

    def __call__(self, x: Tensor) -> Tensor:
        """x [n, channels], which it writes into → [n, channels]."""
        between = self._first(x)
        return self._second.add_to(x if self._shortcut is None else self._shortcut(x), between)


def _pad_short(x: Tensor, left: int, right: int, mode: str) -> Tensor:
    """[n, channels] → [left + n + right, channels]; what is shorter than its reflection goes on with zeros first."""
    more = max(0, max(left, right) - len(x) + 1) if mode == "reflect" else 0
    longer = nn.functional.pad(x.t()[None], (0, more))
    padded = nn.functional.pad(longer, (left, right), "constant" if mode == "zero" else mode)
    return padded[0, :, : left + len(x) + right].t()
