"""What kernels offer, whoever computes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch

if TYPE_CHECKING:
    from tonewheel.engine.cache import KeyValueCache
    from tonewheel.engine.cross import CrossCache
    from tonewheel.engine.model import Batch, CacheShape
    from tonewheel.engine.sampler import Sampler

Precision = Literal["float32", "bfloat16", "float16", "int8", "int4"]
Linear = Callable[[torch.Tensor], torch.Tensor]
"""x [rows, inputs] → [rows, outputs]"""
Made = Callable[[], torch.Tensor]
"""A weight [outputs, inputs], read or joined when it is called: not at all where it is kept in another form."""


@dataclass(frozen=True, slots=True)
class Norm:
    """A layer norm, or an RMS norm where there is no bias."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    eps: float = 1e-5


@dataclass(frozen=True, slots=True)
class Block:
    """A layer of a pre-norm decoder, its linears as `Kernels.linear` made them. q, k and v are one; the three of
    cross-attention are there or not."""

    norm: Norm
    query_key_value: Linear
    out: Linear
    feed_norm: Norm
    feed_in: Linear
    feed_out: Linear
    cross_norm: Norm | None = None
    cross_query: Linear | None = None
    cross_out: Linear | None = None


@dataclass(frozen=True, slots=True)
class StackShape:
    """What the layers have in common. `gated`: `feed_in` makes gate and up, and silu(gate) * up goes on."""

    width: int
    heads: int
    key_heads: int
    head_size: int
    activation: str = "gelu"  # gelu, gelu_tanh, relu
    gated: bool = False
    cosines: torch.Tensor | None = None  # [positions, head_size / 2] of a rotary embedding of neighbouring pairs
    sines: torch.Tensor | None = None


class Keeper(Protocol):
    """Where quantised weights are kept between two starts."""

    def open(self, precision: str) -> bool:
        """Look for those of a precision → are they all there?"""

    def weight(self, name: str) -> tuple[Any, Any, int, int] | None:
        """Values and scales as bytes (arrays), outputs, inputs; None = it is not kept."""

    def keep(self, name: str, weight: Any) -> None:
        """Keep it: it has `values`, `scales`, `outputs`, `inputs`."""


class Stack(ABC):
    """All layers of a decoder, the last norm and the heads."""

    @abstractmethod
    def step(
        self, x: torch.Tensor, rows: torch.Tensor, positions: torch.Tensor, cache: KeyValueCache, logits: bool
    ) -> torch.Tensor:
        """x [n, width] at `positions` [n] of the cache's `rows` [n] → the hidden states after the last norm [n, width]
        or, through the heads, logits [n, outputs], float32. Several positions of one row may come at once, in order:
        each sees those before it."""

    @abstractmethod
    def look(self, row: int, texts: CrossCache) -> None:
        """From now on the row's cross-attention sees the text that is kept for it, or nothing."""


class Drawing(ABC):
    """Guidance and the draw of a step in one call, by the settings of a `Sampler`."""

    @abstractmethod
    def draw(
        self, logits: torch.Tensor, batch: Batch, plan: torch.Tensor, first: int, banned: torch.Tensor | None
    ) -> torch.Tensor:
        """Logits [R, k, V], float32, of codebooks first … first + k - 1 → tokens [B, k]: what `plan` [slots, K, steps]
        knows beforehand, else what is drawn, by the same rules and numbers as `Sampler.draw`."""


Wide = Callable[[torch.Tensor, torch.Tensor], None]
"""x [rows, inputs], y [rows, outputs], both float32 without gaps: y = x · weight, with the bias."""


def by_rows(product: Wide, x: torch.Tensor, outputs: int) -> torch.Tensor:
    """x [..., inputs], float32 → [..., outputs], by a product of rows."""
    rows = x.reshape(-1, x.shape[-1]).contiguous()
    made = rows.new_empty(len(rows), outputs)
    product(rows, made)
    return made.view(*x.shape[:-1], outputs)


class Kernels(ABC):
    """A way to compute, in one precision."""

    name: str  # such as native avx512-vnni
    precision: Precision
    from_kept = False  # weights come from where an earlier start kept them

    @abstractmethod
    def linear(self, name: str, weight: Made, bias: torch.Tensor | None = None) -> Linear:
        """A linear layer. `name` is unique within the model: under it a quantised weight is kept for the next start."""

    def wide(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> Wide | None:
        """The product of many rows at a time with a weight [outputs, inputs], where that is faster than torch's float32
        and what is lost (at most 3 · 2^-16 of each product) is less than weights of this precision lose; else None."""
        return None

    def cache(self, shape: CacheShape, dtype: torch.dtype) -> tuple[CacheShape, torch.dtype]:
        """How a stack of these kernels wants the keys and values of a model of this shape and type to be kept."""
        return shape, dtype

    def drawing(self, sampler: Sampler, last: torch.Tensor, spoilt: torch.Tensor) -> Drawing | None:
        """What draws into `last` [slots, K] and puts a 1 into `spoilt` [slots, 1] where logits are not finite; None
        where these kernels have no such thing."""
        return None

    def stack(self, shape: StackShape, blocks: list[Block], last: Norm, heads: Linear | None) -> Stack | None:
        """The layers as one; None where these kernels have no such thing."""
        return None
