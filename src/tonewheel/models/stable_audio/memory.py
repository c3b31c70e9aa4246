"""What Stable Audio takes on its device, reckoned from its files or, while they are not here, from published sizes."""

from __future__ import annotations

from tonewheel.models.base import Card, Estimate
from tonewheel.models.diffusion.memory import LIBRARIES, bytes_a_number, parameters
from tonewheel.models.diffusion.recipe import Recipe
from tonewheel.models.diffusion.speeds import Speeds
from tonewheel.models.stable_audio.card import SAMPLE_RATE, third
from tonewheel.models.stable_audio.recipes import OOBLECK_MARGIN, OOBLECK_WINDOW, OPEN_HOP, recipe_of
from tonewheel.models.stable_audio.request import StableAudioRequest
from tonewheel.settings import weights_dir

_MB = 1 << 20
# Numbers of the transformer, the autoencoder, and the text encoder with what is small.
_OPEN = 1_057_000_000 + 156_100_000 + 111_000_000
_MEDIUM = 1_453_000_000 + 852_100_000 + 300_000_000
_SMALL = 459_000_000 + 107_500_000 + 300_000_000
# Measured in float32 on Linux with torch 2.13 for CPUs at the real sizes: Oobleck over 32 and 96 latent frames took 416
# and 619 MB, SAME over 92 frames 58 (small) and 116 MB (large).
_OOBLECK, _OOBLECK_FRAME = 330 * _MB, 5 * _MB
_SAME = 250 * _MB
_POSITION = 40 * 1536 * 4  # bytes a position of the transformer: its gates, queries, keys and values at once
_SOUND = 2 * SAMPLE_RATE * 4 * 4  # bytes a second: samples in float32, as they are joined, checked and encoded


def idle_bytes(card: Card, number: int) -> int:
    """Loaded and idle, with `number` bytes a weight."""
    published = _OPEN if third(card) is None else _SMALL if "small" in card.id else _MEDIUM
    here = parameters(weights_dir(card.id, card.revision))
    return LIBRARIES + number * (sum(here.values()) or published)


def row_bytes(card: Card, recipe: Recipe, number: int) -> int:
    """One waveform, beside the model. Rows are decoded one after another: what that takes is counted with each."""
    decoding = _SAME
    if third(card) is None:
        frames = min(recipe.duration_s * SAMPLE_RATE / OPEN_HOP, OOBLECK_WINDOW) + 2 * OOBLECK_MARGIN
        decoding = _OOBLECK + round(frames * _OOBLECK_FRAME)
    work = round(recipe.load * _POSITION) + decoding
    return work * number // 4 + round(recipe.duration_s * _SOUND)


def memory_bytes(card: Card, request: StableAudioRequest | None) -> int:
    """Bytes on the device: loaded and idle, or with a waveform at work. `auto` is reckoned as float32, the larger."""
    number = bytes_a_number()
    idle = idle_bytes(card, number)
    return idle if request is None else idle + row_bytes(card, recipe_of(card, request), number)


def estimate(card: Card, request: StableAudioRequest) -> Estimate | None:
    """Seconds on the device where it ran last; None = nothing was measured yet."""
    return Speeds(card.id).estimate(recipe_of(card, request), request.num_waveforms_per_prompt)
