"""From logits to tokens: guidance, temperature, top-k, top-p and the draw, each request with its own settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch

from tonewheel.engine.randomness import uniform
from tonewheel.engine.request import Sampling

_TRACE = 2.0**-30
_AHEAD = 16  # codebooks whose numbers are made at once
Guidance = Literal["logits", "log_probabilities"]
Adjust = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Need:
    """What a batch's settings ask for, known on the host: work that nobody asked for is left out."""

    most: int  # the largest top-k; 0 = somebody wants all tokens
    nucleus: bool  # somebody has a top-p below 1
    drawn: bool  # somebody does not want just the likeliest token
    greedy: bool = True  # somebody wants just that

    @classmethod
    def of(cls, settings: Iterable[Sampling], bucket: int = 1) -> Need:
        """`bucket`: round top-k up, so that few different batches (CUDA graphs) are met."""
        everybody = list(settings)
        drawing = [s for s in everybody if s.do_sample]
        tops = [s.top_k for s in drawing]
        most = 0 if not tops or 0 in tops else -(-max(tops) // bucket) * bucket
        return cls(most, any(s.top_p < 1 for s in drawing), bool(drawing), len(drawing) < len(everybody))


class Sampler:
    """The settings of all slots as tensors [slots] on the device, and the drawing itself."""

    def __init__(self, slots: int, device: torch.device) -> None:
        # Double precision makes a draw the same whatever top-k its neighbours have: the rounding of sums over more or
        # fewer zeros is 1e-16, not 1e-7. Apple's GPUs have none.
        self._exact = torch.float32 if device.type == "mps" else torch.float64
        self.temperature = torch.ones(slots, device=device)
        self.top_k = torch.zeros(slots, dtype=torch.int64, device=device)
        self.top_p = torch.ones(slots, dtype=self._exact, device=device)
        self.scale = torch.ones(slots, device=device)
        self.greedy = torch.zeros(slots, dtype=torch.bool, device=device)
        self.seed = torch.zeros(slots, dtype=torch.int64, device=device)
        # On a CPU, where a step is a row of small calls: what stays the same between them.
        self._keeps = device.type == "cpu"
        self._kept_ranks: tuple[torch.Tensor, torch.Tensor] | None = None
        self._kept_numbers: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None  # slots, steps, [B, _AHEAD]

    def set(self, slot: int, s: Sampling) -> None:
        """A slot's settings, from its next step on."""
        self._kept_numbers = None
        self.temperature[slot] = s.temperature
        self.top_k[slot] = s.top_k
        self.top_p[slot] = s.top_p
        self.scale[slot] = s.guidance_scale
        self.greedy[slot] = not s.do_sample
        self.seed[slot] = s.seed

    def guide(self, conditional: torch.Tensor, unconditional: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
        """Classifier-free guidance: u + scale (c - u), [B, K, V]. Exactly c where both are one row."""
        scale = self.scale[slots][:, None, None]
        plain = scale == 1
        guided = (conditional - unconditional).mul_(scale).add_(unconditional)
        if self._keeps and not plain.any():
            return guided
        return torch.where(plain, conditional, guided)

    def draw(
        self, logits: torch.Tensor, slots: torch.Tensor, steps: torch.Tensor, codebooks: torch.Tensor, need: Need
    ) -> torch.Tensor:
        """Tokens [B, K] of logits [B, K, V] (float32; -inf = not allowed) at `steps` [B] for `codebooks` [K]."""
        if not need.drawn:
            return logits.argmax(-1)
        temperature = self.temperature[slots][:, None, None]
        scaled = logits if self._keeps and bool((temperature == 1).all()) else logits / temperature
        # Likeliest first, always: the order of the sums below must not depend on what neighbours want. Nor on how torch
        # breaks ties, which half precision is full of: of equal ones the first counts as a trace likelier.
        tokens, traces = self._ranks(scaled.shape[-1])
        ranked = scaled.to(self._exact) - traces
        if 0 < need.most < scaled.shape[-1]:
            order = ranked.topk(need.most, dim=-1).indices  # a partial selection
        else:
            order = ranked.argsort(dim=-1, descending=True)
        scaled = scaled.gather(-1, order)
        rank = tokens[: scaled.shape[-1]]
        top_k = self.top_k[slots][:, None, None]
        weights = scaled.to(self._exact).softmax(-1).masked_fill((top_k > 0) & (rank >= top_k), 0)
        if need.nucleus:  # a token stays while those before it do not hold top-p yet
            share = weights / weights.sum(-1, keepdim=True)
            before = share.cumsum(-1) - share
            weights = weights.masked_fill((before >= self.top_p[slots][:, None, None]) & (rank > 0), 0)
        sums = weights.cumsum(-1)
        wanted = self._numbers(slots, steps, codebooks)[..., None] * sums[..., -1:]
        # The first whose sum lies above: a token of no weight has the sum of the one before it and is never met,
        # except past the last one, where rounding could point.
        last = (weights > 0).to(torch.int8).cumsum(-1, dtype=torch.int32).argmax(-1, keepdim=True)
        at = torch.minimum(torch.searchsorted(sums, wanted, right=True), last)
        drawn = order.gather(-1, at).squeeze(-1)
        if not need.greedy:
            return drawn
        return torch.where(self.greedy[slots][:, None], logits.argmax(-1), drawn)

    def _numbers(self, slots: torch.Tensor, steps: torch.Tensor, codebooks: torch.Tensor) -> torch.Tensor:
        """What each draw is decided by, [B, K]. Models that draw one codebook after another ask several times a step,
        with the same tensors: a step's numbers are then made at once."""
        if not self._keeps or int(codebooks[-1]) >= _AHEAD:
            return uniform(self.seed[slots], steps, codebooks, self._exact)
        kept = self._kept_numbers
        if kept is None or kept[0] is not slots or kept[1] is not steps:
            ahead = uniform(self.seed[slots], steps, torch.arange(_AHEAD), self._exact)
            kept = self._kept_numbers = slots, steps, ahead
        return kept[2][:, codebooks]

    def _ranks(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """0 … count - 1, and the trace that each token counts as less likely."""
        if self._kept_ranks is not None and len(self._kept_ranks[0]) == count:
            return self._kept_ranks
        tokens = torch.arange(count, device=self.seed.device)
        ranks = tokens, tokens * _TRACE
        if self._keeps:
            self._kept_ranks = ranks
        return ranks
