"""Plain torch, on any device: what is always there."""

from __future__ import annotations

import torch
from torch.nn.functional import linear

from tonewheel.engine.kernels.offer import Kernels, Linear, Made, Precision


class PlainKernels(Kernels):
    """Weights stay in the type they come in."""

    name = "torch"

    def __init__(self, precision: Precision = "float32") -> None:
        self.precision = precision

    def linear(self, name: str, weight: Made, bias: torch.Tensor | None = None) -> Linear:
        return make_linear(weight(), bias)


def make_linear(weight: torch.Tensor, bias: torch.Tensor | None = None) -> Linear:
    """A linear layer of weight [outputs, inputs], already in its type and on its device; x is [rows, inputs].

    On a CPU a single row is computed as two: torch multiplies it by other code, which rounds otherwise, and a request
    would not get the same numbers alone as in company. From 2 to 15 rows, and again from 16 on, every row's bits are
    the same whatever stands beside it (measured with torch 2.13 and MKL; between the two they differ by rounding).
    """
    weight = weight.contiguous()
    if weight.device.type != "cpu":
        return lambda x: linear(x, weight, bias)

    def rows_alike(x: torch.Tensor) -> torch.Tensor:
        if x.shape[0] == 1 and x.ndim == 2:
            return linear(x.expand(2, -1), weight, bias)[:1]
        return linear(x, weight, bias)

    return rows_alike
