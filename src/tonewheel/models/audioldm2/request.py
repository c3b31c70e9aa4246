"""What AudioLDM 2 is asked and what it answers: contracts.md, 2010, and the fields added beside them."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from tonewheel.models.diffusion.recipe import Recipe
from tonewheel.models.diffusion.request import MAX_PROMPT, DiffusionRequest, DiffusionResponse, Prompt
from tonewheel.models.musicgen.prompt import from_plan as described
from tonewheel.songs.plan import SongPlan

MIN_DURATION_S, MAX_DURATION_S = 1.0, 30.0
NEGATIVE = "Low quality, distorted, noise."
FRAMES_PER_SECOND = 100  # of the spectrogram: 16 kHz in hops of 160


class Audioldm2Request(DiffusionRequest):
    """A description of a sound or a piece of music."""

    prompt: Prompt = Field(description="What it is to sound like.")
    negative_prompt: str = Field(
        default=NEGATIVE, max_length=MAX_PROMPT, description="What it is not to sound like; empty = nothing said."
    )
    duration: float = Field(default=10.0, ge=MIN_DURATION_S, le=MAX_DURATION_S, description="Seconds of each waveform.")
    num_inference_steps: int = Field(default=200, ge=10, le=500, description="More take longer and sound cleaner.")
    guidance_scale: float = Field(
        default=3.5, ge=1, le=20, description="How closely the prompt is followed; 1 = no guidance, half the work."
    )
    num_waveforms_per_prompt: int = Field(
        default=1, ge=1, le=4, description="So many different waveforms, each with a seed of its own."
    )

    @field_validator("negative_prompt", mode="before")
    @classmethod
    def _none_is_the_default(cls, value: object) -> object:
        return NEGATIVE if value is None else value

    def audio_seconds(self) -> float:
        return self.duration * self.num_waveforms_per_prompt


class Audioldm2Response(DiffusionResponse):
    """The waveforms, mono at 16 kHz."""

    negative_prompt: str


def recipe_of(request: Audioldm2Request) -> Recipe:
    """The network works on a quarter of the spectrogram's frames, twice with guidance."""
    frames = request.duration * FRAMES_PER_SECOND
    return Recipe(
        steps=request.num_inference_steps, guidance_scale=request.guidance_scale, duration_s=request.duration,
        load=frames * (2 if request.guidance_scale > 1 else 1), decode_load=frames,
    )  # fmt: skip


def from_plan(plan: SongPlan) -> dict[str, Any]:
    """The fields of a request that say what a plan says; AudioLDM 2 does not sing, and 30 s are its longest."""
    asked = described(plan) | {"duration": min(plan.duration_s, MAX_DURATION_S)}
    if unwanted := asked.get("negative_prompt"):
        asked["negative_prompt"] = f"{NEGATIVE[:-1]}, {unwanted}."
    return asked
