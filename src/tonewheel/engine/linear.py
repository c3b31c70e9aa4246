"""The one place that makes a linear layer from a weight.

Everything on the engine that multiplies by weights comes through `make_linear`, so that quantised kernels
need to be known here only (the issue "Real time on two cores" brings them).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch.nn.functional import linear

from tonewheel.errors import InvalidRequest

Precision = Literal["float32", "bfloat16", "float16"]
Linear = Callable[[torch.Tensor], torch.Tensor]
"""x [..., inputs] → [..., outputs]"""

_TYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def dtype_of(precision: str) -> torch.dtype:
    """The type weights are kept in. Raises InvalidRequest."""
    if precision not in _TYPES:
        raise InvalidRequest(f"precision {precision!r} is not one of {', '.join(_TYPES)}", param="precision")
    return _TYPES[precision]


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
