"""What the engine asks of a model, and what it tells it about a step.

Shapes: S slots; B slots that take part in a step; R rows (a guided slot has two: the conditional and
the unconditional branch, each with a cache of its own); K codebooks; V logits a codebook; H heads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import torch

from tonewheel.engine.request import GenerationRequest
from tonewheel.engine.sampler import Adjust, Guidance

if TYPE_CHECKING:
    from tonewheel.engine.cache import KeyValueCache
    from tonewheel.engine.kernels.offer import Kernels


@dataclass(frozen=True, slots=True)
class CacheShape:
    """The key/value cache of a model: grouped heads stay grouped (`heads` are those of keys and values)."""

    layers: int
    heads: int
    head_size: int

    def bytes(self, rows: int, positions: int, itemsize: int) -> int:
        return 2 * self.layers * self.heads * self.head_size * rows * positions * itemsize


@dataclass(frozen=True, slots=True)
class Span:
    """Neighbouring rows of a step that lie side by side in the cache and are equally long: attended at once."""

    start: int  # rows start:stop of the step
    stop: int
    row: int  # the first one's row of the cache
    length: int  # positions in the cache, the one of this step among them


@dataclass(frozen=True, slots=True)
class Batch:
    """Who takes part in a step. Tensors are int64 on the model's device."""

    slots: torch.Tensor  # [B]
    rows: torch.Tensor  # [R] rows of the cache; those of one slot are neighbours, the conditional one first
    owner: torch.Tensor  # [R] index into the B slots
    conditional: torch.Tensor  # [B] index into the R rows
    unconditional: torch.Tensor  # [B] likewise; the conditional one itself without guidance
    steps: torch.Tensor  # [B] the step of each, counted from 0
    positions: torch.Tensor  # [R] where the keys of this step go
    spans: tuple[Span, ...] = ()  # for a cache that is read row by row, each as far as it is filled …
    length: int = 0  # … or as one block of so many positions
    visible: torch.Tensor | None = None  # [R, 1, 1, length] bool, the positions each row may see of the block


class Sample(Protocol):
    """Draw tokens within a step: logits [R, k, V] of codebooks first … first + k - 1 → tokens [B, k].

    Guidance between the rows, the settings of every request, and tokens known beforehand are applied here.
    Of the ids `banned` [V], bool, none is drawn; `adjust` changes the guided logits [B, k, V] in any other way (a
    penalty, ids that are not allowed now: -inf).
    """

    def __call__(
        self, logits: torch.Tensor, first: int = 0, adjust: Adjust | None = None, banned: torch.Tensor | None = None
    ) -> torch.Tensor: ...


PromptT = TypeVar("PromptT")


class FrameModel(ABC, Generic[PromptT]):
    """A codec language model, as the engine runs it. All calls come from the engine's thread, in inference mode."""

    codebooks: int  # K: tokens of a step
    delays: tuple[int, ...]  # [K] steps by which each codebook runs behind the first frame
    pad: int  # the token where a codebook has none yet or none any more
    cache_shape: CacheShape
    device: torch.device
    dtype: torch.dtype  # of the cache
    max_positions: int | None = None  # of one row
    guidance: Guidance = "logits"
    kernels: Kernels | None = None  # what it computes with, where that can draw, too

    def branches(self, request: GenerationRequest) -> int:
        """Rows a request needs: 2 with guidance, 1 without (or where both branches would be the same)."""
        return 2 if request.sampling.guidance_scale != 1 else 1

    def prefix(self, request: GenerationRequest) -> tuple[int, ...]:
        """Positions filled before the first step, for each branch."""
        return (0,) * self.branches(request)

    def ends(self, tokens: torch.Tensor) -> bool:
        """Is a step's tokens [K], on the host, the end of the stream? That step is dropped."""
        return False

    def open(self, slots: int) -> None:
        """Make room for what the model itself keeps for each of `slots`. Called once."""

    @abstractmethod
    def admit(self, slot: int, request: GenerationRequest) -> None:
        """A request takes a slot: compute what is computed once (keys and values of its text …)."""

    def prefill(self, slot: int, cache: KeyValueCache, start: int, stop: int) -> None:
        """Fill positions start … stop - 1 of the rows 2·slot and 2·slot + 1; a branch's prefix may end earlier."""

    @abstractmethod
    def step(self, tokens: torch.Tensor, batch: Batch, cache: KeyValueCache, sample: Sample) -> None:
        """One step for all: from the tokens before it [B, K] to the ones that `sample` draws (and the engine keeps)."""

    def release(self, slot: int) -> None:
        """Let go of what `admit` made."""

    def rest(self) -> None:
        """Nobody is there: give back what grew."""

    def variant(self, slots: list[int]) -> Any:
        """Whatever makes a captured step of these slots different from one of others (CUDA graphs)."""
        return None
