"""The published checkpoints, and what is known of them before they are loaded."""

from __future__ import annotations

from tonewheel.models.base import Card
from tonewheel.models.clap.contract import ClapRequest

LONGEST_S = 3600.0
SLOTS = 32  # requests that may share batches; each waits in a thread

_BASE, _LARGER = 153_500_000, 193_900_000  # parameters
PARAMETERS = {
    "clap-htsat-unfused": _BASE, "larger-clap-music": _LARGER, "larger-clap-general": _LARGER,
    "clap-htsat-fused": 158_000_000,
}  # fmt: skip


def _card(name: str, title: str, about: str) -> Card:
    return Card(
        id=name.replace("_", "-"),
        family="clap",
        title=title,
        description=f"Embeds recordings and texts in one space: similarity, genre, mood, any label. {about}",
        tasks=("embed", "classify"),
        source=f"hf:laion/{name}",
        revision="main",
        patterns=(
            "config.json", "preprocessor_config.json", "processor_config.json", "tokenizer.json",
            "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt", "model.safetensors",
        ),
        code_license="Apache-2.0",
        weight_license="Apache-2.0",
        sample_rate=48_000,
        channels=1,
        max_duration_s=LONGEST_S,
        devices=("cuda", "rocm", "cpu"),
        concurrency=SLOTS,
        deadline_s=900.0,  # an hour of audio on slow cores; how long a recording is is known only when it is read
        service="clap",
        default_port=2007,
    )  # fmt: skip


CARDS = (
    _card("clap-htsat-unfused", "CLAP", "Sounds of all kinds; the default."),
    _card("larger_clap_music", "CLAP larger, music", "Trained on music."),
    _card("larger_clap_general", "CLAP larger, general", "Trained on music, speech and other sounds."),
    _card("clap-htsat-fused", "CLAP fused", "Sounds of all kinds, with feature fusion."),
)

# Measured on Linux with Python 3.11 and torch 2.13 without a GPU, at the size of clap-htsat-unfused (586 MB of weights)
# with 8 clients: 1,157 MB loaded, its decoder included, at most 1,350 MB at work. A decoded recording comes on top:
# 48,000 floats a second.
_TORCH_BYTES = 580 * 1024 * 1024
_WORKING_BYTES = 280 * 1024 * 1024
_PLAIN = (b"RIFF", b"fLaC", b"FORM")  # files that hold samples nearly as they are; others grow more when decoded


def memory_bytes(card: Card, request: ClapRequest | None) -> int:
    """RAM of the process, or memory of the GPU it runs on (where it takes less): idle, or while it listens."""
    idle = _TORCH_BYTES + 4 * PARAMETERS[card.id]
    if request is None:
        return idle
    files = [*request.recordings, *([request.audio_b] if request.audio_b else [])]
    return idle + _WORKING_BYTES + sum((3 if f[:4] in _PLAIN else 20) * len(f) for f in files)
