"""What is asked of the engine: a prompt in the model's own type, a length, and how to draw."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from tonewheel.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. Order: guidance, temperature, top-k, top-p, draw (that of transformers).

    `top_k` 0 = all tokens. `top_p` 1 = all, 0 = the likeliest only. `guidance_scale` 1 = no guidance, one row less.
    `do_sample` False = the likeliest token, whatever the rest says. Raises InvalidRequest.
    """

    temperature: float = 1.0
    top_k: int = 250
    top_p: float = 1.0
    guidance_scale: float = 3.0
    do_sample: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise InvalidRequest(f"temperature: {self.temperature} is not above 0", param="temperature")
        if self.top_k < 0:
            raise InvalidRequest(f"top_k: {self.top_k} is below 0; 0 means all tokens", param="top_k")
        if not 0 <= self.top_p <= 1:
            raise InvalidRequest(f"top_p: {self.top_p} is not within 0 and 1", param="top_p")
        if not (math.isfinite(self.guidance_scale) and self.guidance_scale >= 1):
            raise InvalidRequest(f"guidance_scale: {self.guidance_scale} is below 1", param="guidance_scale")
        if not 0 <= self.seed < 2**63:
            raise InvalidRequest(f"seed: {self.seed} is not within 0 and 2^63 - 1", param="seed")


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One thing to generate. `frames` are new ones; `start` [codebooks, frames] are codes to go on from, or None."""

    prompt: Any
    frames: int
    sampling: Sampling = field(default_factory=Sampling)
    start: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise InvalidRequest(f"frames: {self.frames} is below 1", param="frames")

    @property
    def started(self) -> int:
        """Frames that are there before the first step."""
        return 0 if self.start is None else int(self.start.shape[1])
