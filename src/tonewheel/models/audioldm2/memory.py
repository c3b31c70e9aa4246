"""What AudioLDM 2 takes on its device, reckoned from its files or, while they are not here, from published sizes; and
how long it takes, from what was measured."""

from __future__ import annotations

from tonewheel.models.audioldm2.request import Audioldm2Request, recipe_of
from tonewheel.models.base import Card, Estimate
from tonewheel.models.diffusion.memory import LIBRARIES, bytes_a_number, parameters
from tonewheel.models.diffusion.recipe import Recipe
from tonewheel.models.diffusion.speeds import Speeds
from tonewheel.settings import weights_dir

# Parameters of all parts: the network, Flan-T5 large's encoder, CLAP, GPT2, the VAE, the vocoder (facts, §7).
_PUBLISHED = {"audioldm2": 1_100_000_000, "audioldm2-large": 1_500_000_000, "audioldm2-music": 1_100_000_000}
# Of a waveform beside the model, in float32, while the VAE decodes it: 143 MiB for 256 frames at the official widths
# on a CPU (torch 2.13); a step and the vocoder take less.
_BYTES_A_FRAME = 600_000


def memory_bytes(card: Card, request: Audioldm2Request | None) -> int:
    """Bytes on the device: loaded and idle, or with one request."""
    idle = idle_bytes(card, bytes_a_number())
    return idle if request is None else idle + row_bytes(recipe_of(request), bytes_a_number())


def idle_bytes(card: Card, number: int) -> int:
    """Loaded, with `number` bytes a weight."""
    here = sum(parameters(weights_dir(card.id, card.revision)).values())
    return LIBRARIES + number * (here or _PUBLISHED[card.id])


def row_bytes(recipe: Recipe, number: int) -> int:
    """Of one waveform, most of it while the VAE decodes it."""
    return int(recipe.duration_s * 100 * _BYTES_A_FRAME * number / 4)


def estimate(card: Card, request: Audioldm2Request) -> Estimate | None:
    """On the device where it ran last; None = nothing was measured yet."""
    return Speeds(card.id).estimate(recipe_of(request), request.num_waveforms_per_prompt)
