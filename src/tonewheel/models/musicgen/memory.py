"""What MusicGen takes on its device, reckoned from its files or, while they are not here, from published sizes."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tonewheel.models.base import Card
from tonewheel.models.musicgen.card import SLOTS
from tonewheel.models.musicgen.request import MusicgenRequest
from tonewheel.models.musicgen.windows import MAX_CONTEXT, WINDOW_FRAMES, frames_of
from tonewheel.models.precision import expected_sizes
from tonewheel.settings import settings, weights_dir

_MB = 1 << 20
_BESIDE = 166_700_000  # parameters of T5-base's encoder and EnCodec at 32 kHz, always in float32
# Resident memory beside weights, and of a request beside its keys and values (EnCodec over 50 frames, sampling,
# encoding). Measured on Linux with Python 3.11, torch 2.13 for CPUs and the real size of small: 2,786 MiB loaded,
# 3,074 MiB at the peak of a request, of which 96 MiB were keys and values.
_LIBRARIES = 540 * _MB
_WORKING = 200 * _MB
_BYTES_A_SECOND = 2 * 32_000 * 4 * 4  # samples in float32, as they are joined and encoded
_CACHE_STEP = 256  # positions by which the key/value cache grows (tonewheel.engine.cache)


@dataclass(frozen=True, slots=True)
class Shape:
    """A transformer's size. `prefix`: positions before the music where there is no cross-attention."""

    parameters: int  # of the whole model
    layers: int
    width: int
    prefix: int = 0


_SMALL = Shape(587_000_000, 24, 1024)
_MEDIUM = Shape(2_010_000_000, 48, 1536)
_LARGE = Shape(3_420_000_000, 48, 2048)
_MELODY = Shape(1_560_000_000, 48, 1536, prefix=235)
_MELODY_LARGE = Shape(2_610_000_000, 48, 2048, prefix=235)
_SHAPES = {
    "small": _SMALL, "medium": _MEDIUM, "large": _LARGE, "melody": _MELODY, "melody-large": _MELODY_LARGE,
}  # fmt: skip


def memory_bytes(card: Card, request: MusicgenRequest | None) -> int:
    """Bytes on the device: loaded and idle, or with one request."""
    shape = _here(card) or _SHAPES[card.id.removeprefix("musicgen-").removeprefix("stereo-")]
    size, kept = expected_sizes(settings().musicgen_dtype)
    beside = min(_BESIDE, shape.parameters)
    embedded = min(4 * 2049 * shape.width, shape.parameters - beside)  # never quantised
    idle = _LIBRARIES + 4 * (beside + embedded) + round(size * (shape.parameters - beside - embedded))
    return idle if request is None else idle + _of_request(shape, kept, request)


def _of_request(shape: Shape, size: float, request: MusicgenRequest) -> int:
    frames = min(frames_of(request.duration), WINDOW_FRAMES)
    if request.continue_from is not None:
        frames = min(frames + MAX_CONTEXT, WINDOW_FRAMES)
    texts = [t for t in (request.prompt, request.negative_prompt) if t]
    tokens = max((len(t) // 3 + 2 for t in texts), default=0)  # English has some four letters a token
    positions = -(-(frames + 4 + shape.prefix + 1) // _CACHE_STEP) * _CACHE_STEP + min(tokens, 512)
    rows = (1 if request.guidance_scale == 1 else 2) * min(request.num_variations, SLOTS)
    cache = round(2 * shape.layers * shape.width * size * positions * rows)
    return cache + _WORKING + int(request.num_variations * request.duration * _BYTES_A_SECOND)


def _here(card: Card) -> Shape | None:
    """The shape of what lies in the model's folder: a checkpoint of one's own may be of another size."""
    folder = weights_dir(card.id, card.revision)
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        decoder = config["decoder"]
        kept = 2 if "16" in str(config.get("dtype") or config.get("torch_dtype")) else 4
        files = list(folder.glob("model*.safetensors")) or list(folder.glob("pytorch_model*.bin"))
        stored = sum(file.stat().st_size for file in files)
        prefix = int(config.get("chroma_length", 235)) if config.get("model_type") == "musicgen_melody" else 0
        if not stored:
            return None
        return Shape(stored // kept, int(decoder["num_hidden_layers"]), int(decoder["hidden_size"]), prefix)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # not here, or broken: loading it will say what is wrong
