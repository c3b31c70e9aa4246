"""What the codec multiplies with: torch, or what the decoder's kernels have for many rows."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tonewheel.engine.kernels import Kernels, Wide

Product = Callable[[Tensor, Tensor], None]
"""x [n + dilation · (taps - 1), in], made [n, out]: each row of `made` becomes the product of `taps` rows of x, side by
side, with the weight."""


class Room:
    """Memory that is used again: to ask the system for it anew takes as long as the products. One user at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._held: dict[str, Tensor] = {}

    def floats(self, name: str, rows: int, width: int) -> Tensor:
        """[rows, width] of any content; what was asked for by this name before may be overwritten."""
        held = self._held.get(name)
        if held is None or held.numel() < rows * width:
            held = self._held[name] = torch.empty(rows * width, device=self._device)
        return held[: rows * width].view(rows, width)


class TorchProduct:
    """A product for each tap, summed in place."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dilation: int) -> None:
        self._weight, self._dilation = weight.contiguous(), dilation
        self._bias = weight.new_zeros(weight.shape[2]) if bias is None else bias

    def __call__(self, x: Tensor, made: Tensor) -> None:
        n = len(made)
        torch.addmm(self._bias, x[:n], self._weight[0], out=made)
        for tap in range(1, len(self._weight)):
            start = tap * self._dilation
            made.addmm_(x[start : start + n], self._weight[tap])


class WideProduct:
    """One of the native kernels: rows that a step is multiplied with stand side by side, in a copy."""

    def __init__(self, wide: Wide, taps: int, room: Room) -> None:
        self._wide, self._taps, self._room = wide, taps, room

    def __call__(self, x: Tensor, made: Tensor) -> None:
        if self._taps > 1:
            width = x.shape[1]
            windows = x.as_strided((len(made), self._taps * width), (width, 1))
            x = self._room.floats("windows", *windows.shape)
            x.copy_(windows)
        self._wide(x, made)


def product_of(kernels: Kernels, room: Room, weight: Tensor, bias: Tensor | None, dilation: int) -> Product:
    """With a weight [taps, in, out] and a bias [out], of rows that are `dilation` apart."""
    wide = kernels.wide(weight.flatten(0, 1).t(), bias) if dilation == 1 else None
    return TorchProduct(weight, bias, dilation) if wide is None else WideProduct(wide, len(weight), room)
