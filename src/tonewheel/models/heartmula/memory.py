"""What HeartMuLa takes on its device, reckoned from its files or, while they are not here, from the published sizes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tonewheel.errors import TonewheelError
from tonewheel.models.base import Card
from tonewheel.models.heartmula.card import RELEASES
from tonewheel.models.heartmula.flavors import FLAVORS, TransformerShape, known_flavors
from tonewheel.models.heartmula.request import HeartmulaRequest
from tonewheel.models.heartmula.windows import SAMPLE_RATE, count, frames_of
from tonewheel.models.precision import expected_sizes
from tonewheel.models.tensor_heads import numbers_in
from tonewheel.settings import settings, weights_dir

_MB = 1 << 20
# Resident memory of torch and its like on Linux (Python 3.11, torch 2.13 for CPUs), as measured for MusicGen.
_LIBRARIES = 420 * _MB
_CACHE_STEP = 256  # positions by which the key/value cache grows (tonewheel.engine.cache)
_LETTERS = 3  # of a token, at least, in what Llama's tokenizer reads
_LATENTS = 744  # of a window
_CHUNK = 171 * 1920  # samples the scalar decoder makes at a time: 5 s and what they depend on
_SAMPLES = 5  # times a song's float32 samples: pieces, the whole, its encoding; beside one window
# What a first request brings besides: libraries that encode, the engine's and the codec's buffers. Measured by
# `bench/heartmula.py --memory` on Linux with torch 2.13 for CPUs.
_WORKING = 115 * _MB


@dataclass(frozen=True, slots=True)
class Sizes:
    """Parameters, by the type they are kept in, and the shapes that what a request takes depends on."""

    language: int  # in the chosen type
    heads: int  # of the language model, always float32
    flow: int  # float16 where the language model is halved
    wave: int  # float32
    backbone: TransformerShape = FLAVORS["llama-3B"]
    flow_width: int = 3072  # of the second, wider part
    wave_channels: int = 64


_PUBLISHED = Sizes(language=3_737_000_000, heads=201_000_000, flow=1_487_000_000, wave=84_000_000)


def memory_bytes(card: Card, request: HeartmulaRequest | None) -> int:
    """Bytes on the device: loaded and idle, or with one request."""
    sizes = _here(card) or _PUBLISHED
    weight, kept = expected_sizes(settings().heartmula_dtype)
    flow = 2 if weight == 2 else 4  # quantised or float32 on a CPU, the codec computes in float32
    heads = min(weight, 4) if weight < 2 else 4
    idle = _LIBRARIES + round(weight * sizes.language + heads * sizes.heads) + flow * sizes.flow + 4 * sizes.wave
    return idle if request is None else idle + _of_request(sizes, kept, request)


def _of_request(sizes: Sizes, size: float, request: HeartmulaRequest) -> int:
    backbone = sizes.backbone
    tokens = (len(request.words) + len(request.sound)) // _LETTERS + 8
    positions = -(-(frames_of(request.duration) + tokens) // _CACHE_STEP) * _CACHE_STEP
    rows = 1 if request.guidance_scale <= 1 else 2
    cache = round(2 * backbone.layers * backbone.key_heads * backbone.head_size * size * positions * rows)
    # Both branches: the fed-forward part, thrice a block's width.
    flow = 2 * _LATENTS * 12 * sizes.flow_width * round(max(size, 2))
    # Both sides: a layer's input, its padded copy, output, activation, and what the convolution reorders (measured).
    wave = 2 * 6 * sizes.wave_channels * _CHUNK * 4
    if count(frames_of(request.duration)) > 1:
        wave += wave // 3  # of what a window leaves free, the next one does not use all again (measured)
    second = SAMPLE_RATE * 2 * 4
    samples = int((_SAMPLES * request.duration + _LATENTS / 25) * second)  # a short song, too, has a whole window
    return cache + max(flow, wave) + _WORKING + samples


def _here(card: Card) -> Sizes | None:
    """The sizes of what lies in the model's folder: a checkpoint of one's own may be of another."""
    folder, release = weights_dir(card.id, card.revision), RELEASES[card.id]
    try:
        language = _first(folder, release.language, f"HeartMuLa-oss-{settings().heartmula_version}")
        codec = _first(folder, release.codec, "HeartCodec-oss")
        config, other = (json.loads((part / "config.json").read_text("utf-8")) for part in (language, codec))
        tensors, decoder = _counted(language), _counted(codec)
        heads = sum(n for name, n in tensors.items() if name in ("audio_head", "codebook0_head.weight"))
        return Sizes(
            language=sum(tensors.values()) - heads,
            heads=heads,
            flow=sum(n for name, n in decoder.items() if "flow_matching." in name),
            wave=sum(n for name, n in decoder.items() if "scalar_model.decoder." in name),
            backbone=known_flavors(config)[config["backbone_flavor"]],
            flow_width=2 * int(other["num_attention_heads"]) * int(other["attention_head_dim"]),
            wave_channels=int(other["init_channel"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration, TonewheelError):
        return None  # not here, or broken: loading it will say what is wrong


def _first(folder: Path, *names: str) -> Path:
    return next(folder / name for name in names if (folder / name).is_dir())


def _counted(folder: Path) -> dict[str, int]:
    """Numbers in each tensor."""
    counts: dict[str, int] = {}
    for file in folder.glob("model*.safetensors"):
        counts |= numbers_in(file)
    return counts
