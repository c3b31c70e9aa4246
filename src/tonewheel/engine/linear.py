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
    """A linear layer of weight [outputs, inputs], already in its type and on its device."""
    weight = weight.contiguous()
    return lambda x: linear(x, weight, bias)
