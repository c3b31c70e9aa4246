"""What ACE-Step takes on its device, reckoned from its files or, while they are not here, from published sizes; and
how long it takes, from what was measured."""

from __future__ import annotations

from dataclasses import dataclass

from tonewheel.models.ace_step.recipe import recipe_of
from tonewheel.models.ace_step.request import AceStepRequest
from tonewheel.models.base import Card, Estimate
from tonewheel.models.diffusion.memory import LIBRARIES, bytes_a_number, config_of, parameters
from tonewheel.models.diffusion.recipe import Recipe
from tonewheel.models.diffusion.speeds import Speeds
from tonewheel.settings import weights_dir

_CHUNK = 512  # latents decoded at a time
_SAMPLES = _CHUNK * 1920


@dataclass(frozen=True, slots=True)
class Shape:
    """Numbers in all parts; width, heads and inner width of the transformer; widest channels of the decoder."""

    numbers: int
    width: int
    inner: int
    heads: int
    channels: int


# The XL checkpoints: transformer 4.17 G, condition encoder 0.61 G, audio tokenizer and back 0.21 G, Oobleck 0.17 G
# (counted on diffusers' classes at the sizes of the official configurations), Qwen3-Embedding 0.6 G.
_XL = Shape(5_760_000_000, 2560, 9728, 32, 128)


def shape_of(card: Card) -> Shape:
    """Of what lies in the model's folder: a checkpoint of one's own may be of another size."""
    folder = weights_dir(card.id, card.revision)
    counted, network, vae = parameters(folder), config_of(folder, "transformer"), config_of(folder, "vae")
    try:
        return Shape(
            sum(counted.values()), int(network["hidden_size"]), int(network["intermediate_size"]),
            int(network["num_attention_heads"]), int(vae["decoder_channels"]),
        ) if counted else _XL  # fmt: skip
    except (KeyError, TypeError, ValueError):
        return _XL  # broken: loading it will say what is wrong


def idle_bytes(card: Card, number: int) -> int:
    """Loaded and idle, with `number` bytes a weight."""
    return LIBRARIES + number * shape_of(card).numbers


def row_bytes(card: Card, recipe: Recipe, number: int) -> int:
    """One song beside the model: the larger of a step and of decoding, and its samples."""
    shape, positions = shape_of(card), int(recipe.decode_load) // 2 + 1  # the transformer sees two latents as one
    rows = recipe.load / max(1.0, recipe.decode_load)
    # Every other layer attends within a window by a mask, for which scores of all pairs are computed, and softmaxed.
    scores = 2 * shape.heads * positions**2
    step = rows * number * (scores + positions * (3 * shape.inner + 8 * shape.width))
    decode = 5 * number * min(_SAMPLES, int(recipe.decode_load) * 1920) * shape.channels
    samples = 4 * 2 * 4 * int(recipe.duration_s * 48_000)  # float32, stereo: decoded, normalised, cut, encoded
    return int(max(step, decode)) + samples


def memory_bytes(card: Card, request: AceStepRequest | None) -> int:
    """Bytes on the device: loaded and idle, or with one request. `auto` is reckoned as float32, the larger."""
    number = bytes_a_number()
    idle = idle_bytes(card, number)
    return idle if request is None else idle + row_bytes(card, recipe_of(card, request), number)


def estimate(card: Card, request: AceStepRequest) -> Estimate | None:
    """On the device where it ran last; None = nothing was measured yet."""
    return Speeds(card.id).estimate(recipe_of(card, request), request.num_variations)
