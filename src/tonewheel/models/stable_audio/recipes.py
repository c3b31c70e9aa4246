"""What a request has in common with others that are rendered with it, and what it costs. No torch."""

from __future__ import annotations

import math

from tonewheel.models.base import Card
from tonewheel.models.diffusion.recipe import Recipe
from tonewheel.models.stable_audio.card import SAMPLE_RATE, third
from tonewheel.models.stable_audio.request import StableAudioRequest

OPEN_HOP, OPEN_FRAMES = 2048, 1024  # samples a latent frame, and frames that Open 1.0 always works on
THIRD_HOP = 4096
MEMORY_TOKENS = 64  # positions beside the latent frames in Stable Audio 3
OOBLECK_WINDOW, OOBLECK_MARGIN = 512, 16  # latent frames decoded at once: 24 s, and 0.7 s to either side
SAME_WINDOW = 64  # of 93 ms; with the margins of SAME-L 92 frames, 1,564 positions: exact in half precision, too


def recipe_of(card: Card, request: StableAudioRequest, open_frames: int = OPEN_FRAMES) -> Recipe:
    """Steps and guidance as asked, else those the checkpoint is made for."""
    found, given = third(card), request.model_fields_set
    steps, guidance, edit = request.num_inference_steps, request.guidance_scale, request.edit
    if found is not None:
        steps = steps if "num_inference_steps" in given else found.steps
        guidance = guidance if "guidance_scale" in given else found.guidance_scale
        if edit is not None:
            guidance = 1.0  # diffusers' pipelines for recordings have none
    doubled = 2 if guidance > 1 else 1
    seconds = request.seconds
    frames = open_frames if found is None else math.ceil(seconds * SAMPLE_RATE / THIRD_HOP) + MEMORY_TOKENS
    # Without a negative prompt Open 1.0 is guided away from zeros, not from an empty text: one or the other in a call.
    negative = found is None and doubled == 2 and bool(request.negative_prompt)
    return Recipe(
        steps, guidance, seconds, float(frames * doubled), decode_load=seconds,
        more=(negative, None if edit is None else edit.key),
    )  # fmt: skip
