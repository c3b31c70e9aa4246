"""What is known of the MusicGen models before one is loaded (Copet et al. 2023, "Simple and Controllable Music
Generation")."""

from __future__ import annotations

from tonewheel.models.base import Card
from tonewheel.models.musicgen.request import MAX_DURATION_S
from tonewheel.models.musicgen.windows import SAMPLE_RATE

SLOTS = 8  # requests in a batch
_LICENSE = "CC-BY-NC-4.0"
_ABOUT = "Music from a description, and from music to go on from"


def _card(size: str, title: str) -> Card:
    stereo, melody = "stereo" in size, "melody" in size
    more = " and a melody to follow" if melody else ""
    return Card(
        id=f"musicgen-{size}",
        family="musicgen",
        title=title,
        description=f"{_ABOUT}{more}; {'stereo' if stereo else 'mono'}, 32 kHz.",
        tasks=("music", "continuation", "melody") if melody else ("music", "continuation"),
        source=f"hf:facebook/musicgen-{size}",
        revision="main",
        patterns=(
            "config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json",
            "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "spiece.model",
            "model*.safetensors", "model.safetensors.index.json",
        ),
        code_license="Apache-2.0",
        weight_license=_LICENSE,
        consent_required=True,
        forbids="no commercial use of the weights",
        sample_rate=SAMPLE_RATE,
        channels=2 if stereo else 1,
        max_duration_s=MAX_DURATION_S,
        devices=("cuda", "rocm", "cpu"),
        concurrency=SLOTS,
        deadline_s=3600.0,  # without a GPU eight long requests at once take longer than five times their length
        service="musicgen",
        default_port=2006,
    )  # fmt: skip


CARDS = (
    _card("small", "MusicGen small"),
    _card("medium", "MusicGen medium"),
    _card("large", "MusicGen large"),
    _card("melody", "MusicGen melody"),
    _card("melody-large", "MusicGen melody, large"),
    _card("stereo-small", "MusicGen small, stereo"),
    _card("stereo-medium", "MusicGen medium, stereo"),
    _card("stereo-large", "MusicGen large, stereo"),
    _card("stereo-melody", "MusicGen melody, stereo"),
    _card("stereo-melody-large", "MusicGen melody, large, stereo"),
)
