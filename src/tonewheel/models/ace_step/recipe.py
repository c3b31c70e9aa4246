"""What songs must have in common to be rendered together."""

from __future__ import annotations

import math

from tonewheel.models.ace_step.card import MANNERS, SAMPLE_RATE, Manner, version_of
from tonewheel.models.ace_step.request import AceStepRequest
from tonewheel.models.base import Card
from tonewheel.models.diffusion.recipe import Recipe

HOP = 1920  # samples a latent
LATENTS_PER_SECOND = SAMPLE_RATE / HOP


def manner_of(card: Card) -> Manner:
    return MANNERS[version_of(card.id)]


def frames_of(seconds: float) -> int:
    """Latents of a song: as many as diffusers' pipeline takes for it."""
    return math.ceil(seconds * LATENTS_PER_SECOND)


def shift_of(card: Card, request: AceStepRequest) -> float:
    return manner_of(card).shift if request.shift is None else request.shift


def recipe_of(card: Card, request: AceStepRequest) -> Recipe:
    """Words, tempo and key differ freely; audio sent with a request is that of one request only."""
    manner = manner_of(card)
    guidance = request.guidance_scale if manner.guided and request.guidance_scale is not None else manner.guidance_scale
    frames, audio = frames_of(request.seconds()), request.src_audio or request.reference_audio
    blended = request.task == "cover" and request.cover_strength < 1
    return Recipe(
        steps=request.num_inference_steps or manner.steps,
        guidance_scale=guidance,
        duration_s=request.seconds(),
        load=float(frames * ((2 if guidance > 1 else 1) + blended)),
        decode_load=float(frames),
        more=(
            shift_of(card, request), request.task, request.cover_strength, request.prepared if audio else None,
        ),
    )  # fmt: skip


def hears(recipe: Recipe) -> bool:
    """Whether audio was sent with its request."""
    return isinstance(recipe.more, tuple) and recipe.more[-1] is not None
