"""What ACE-Step takes on its device, reckoned from its files or, while they are not here, from published sizes; and
how long it takes, from what was measured."""

from __future__ import annotations

from dataclasses import dataclass

from tonewheel.models.ace_step.card import SAMPLE_RATE
from tonewheel.models.ace_step.recipe import HOP, hears, recipe_of
from tonewheel.models.ace_step.request import AceStepRequest
from tonewheel.models.base import Card, Estimate
from tonewheel.models.diffusion.memory import LIBRARIES, bytes_a_number, config_of, parameters
from tonewheel.models.diffusion.recipe import Recipe
from tonewheel.models.diffusion.speeds import Speeds
from tonewheel.settings import weights_dir

# Samples the autoencoder works on at a time (tiles of diffusers): 512 latents when it decodes, 30 s when it hears.
_DECODED, _HEARD = 512 * HOP, 30 * SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Shape:
    """Numbers in all parts and in the autoencoder, whose widest layer has `channels`; the transformer's widths."""

    numbers: int
    autoencoder: int
    channels: int
    width: int
    inner: int
    heads: int


# The XL checkpoints: transformer 4.17 G, condition encoder 0.61 G, audio tokenizer and back 0.21 G, Oobleck 0.17 G
# (counted on diffusers' classes at the sizes of the official configurations), Qwen3-Embedding 0.6 G.
_XL = Shape(5_760_000_000, 169_000_000, 128, 2560, 9728, 32)


def shape_of(card: Card) -> Shape:
    """Of what lies in the model's folder: a checkpoint of one's own may be of another size."""
    folder = weights_dir(card.id, card.revision)
    counted, network, vae = parameters(folder), config_of(folder, "transformer"), config_of(folder, "vae")
    try:
        return Shape(
            sum(counted.values()), counted["vae"], int(vae["decoder_channels"]), int(network["hidden_size"]),
            int(network["intermediate_size"]), int(network["num_attention_heads"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError):
        return _XL  # not here, or broken: loading it will say what is wrong


def idle_bytes(shape: Shape, number: int) -> int:
    """Loaded and idle, with `number` bytes a weight."""
    return LIBRARIES + number * shape.numbers


def row_bytes(shape: Shape, recipe: Recipe, number: int, *, scores: bool = True) -> int:
    """One song beside the model: the larger of a step and of the autoencoder's work, and its samples.

    Measured at XL's widths in float32 on a CPU: 2.95 kB a sample decoded, and the autoencoder's weights once more (it
    keeps them normalised); 0.2 MB a position in a step. `scores`: kernels of a GPU that take a mask (layers that attend
    within a window have one) hold those of all pairs of positions; those of a CPU never do.
    """
    frames, positions = int(recipe.decode_load), int(recipe.decode_load) // 2 + 1  # two latents are one position
    rows = recipe.load / max(1.0, recipe.decode_load)
    pairs = 2 * shape.heads * positions**2 if scores else positions**2
    step = rows * number * (pairs + positions * (3 * shape.inner + 8 * shape.width))
    samples = max(_HEARD if hears(recipe) else 0, min(_DECODED, frames * HOP))
    autoencoder = number * (6 * samples * shape.channels + shape.autoencoder)
    made = 4 * 2 * 4 * round(recipe.duration_s * SAMPLE_RATE)  # float32, stereo: decoded, levelled, cut, encoded
    return int(max(step, autoencoder)) + made


def memory_bytes(card: Card, request: AceStepRequest | None) -> int:
    """Bytes on the device: loaded and idle, or with one request. `auto` is reckoned as float32, the larger."""
    number, shape = bytes_a_number(), shape_of(card)
    idle = idle_bytes(shape, number)
    return idle if request is None else idle + row_bytes(shape, recipe_of(card, request), number)


def estimate(card: Card, request: AceStepRequest) -> Estimate | None:
    """On the device where it ran last; None = nothing was measured yet."""
    return Speeds(card.id).estimate(recipe_of(card, request), request.num_variations)
