"""What is known of the HeartMuLa models before one is loaded: three releases of one architecture."""

from __future__ import annotations

from dataclasses import dataclass

from tonewheel.models.base import Card, CardPart
from tonewheel.models.heartmula.windows import SAMPLE_RATE
from tonewheel.songs.plan import MAX_DURATION_S

SLOTS = 8  # songs at once
_LICENSE = "Apache-2.0"
_PART = ("config.json", "model*.safetensors", "model.safetensors.index.json")
_BESIDE = "hf:HeartMuLa/HeartMuLaGen"  # tokenizer.json and gen_config.json, the same for all


@dataclass(frozen=True, slots=True)
class Release:
    """The parts a release is put together from: names of their folders, and where they are published."""

    title: str
    language: str
    codec: str
    beside: str = _BESIDE

    @property
    def language_source(self) -> str:
        return f"hf:HeartMuLa/{self.language}"

    @property
    def codec_source(self) -> str:
        return f"hf:HeartMuLa/{self.codec}"


# Which codec a language model was trained on is said on the cards of the later two.
RELEASES = {
    "heartmula-3b-happy-new-year": Release(
        "HeartMuLa 3B, Happy New Year", "HeartMuLa-oss-3B-happy-new-year", "HeartCodec-oss-20260123"
    ),
    "heartmula-3b-rl": Release("HeartMuLa 3B, RL", "HeartMuLa-RL-oss-3B-20260123", "HeartCodec-oss-20260123"),
    "heartmula-3b": Release("HeartMuLa 3B", "HeartMuLa-oss-3B", "HeartCodec-oss"),
}
_ABOUT = {
    "heartmula-3b-happy-new-year": "of February 2026, which its authors recommend",
    "heartmula-3b-rl": "of January 2026, tuned to follow its tags",
    "heartmula-3b": "of January 2026, the first",
}


def _card(name: str) -> Card:
    release = RELEASES[name]
    return Card(
        id=name,
        family="heartmula",
        title=release.title,
        description=f"Songs with voice from lyrics and tags, stereo, 48 kHz; the release {_ABOUT[name]}.",
        tasks=("song", "music"),
        source=release.beside,  # what belongs beside the two models
        revision="main",
        patterns=("gen_config.json", "tokenizer.json"),
        parts=(
            CardPart(folder=release.language, source=release.language_source, patterns=_PART),
            CardPart(folder=release.codec, source=release.codec_source, patterns=_PART),
        ),
        code_license=_LICENSE,
        weight_license=_LICENSE,
        sample_rate=SAMPLE_RATE,
        channels=2,
        max_duration_s=MAX_DURATION_S,
        devices=("cuda", "rocm", "mps", "cpu"),
        concurrency=SLOTS,
        deadline_s=3600.0,  # without a GPU a song takes longer than five times its length
        service="heartmula",
        default_port=9920,
    )


CARDS = tuple(_card(name) for name in RELEASES)
