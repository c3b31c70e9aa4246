"""What is known of the AudioLDM 2 models before one is loaded."""

from __future__ import annotations

from tonewheel.models.audioldm2.request import MAX_DURATION_S
from tonewheel.models.base import Card

SAMPLE_RATE = 16_000
SLOTS = 8  # requests at once; those with equal settings are rendered together
_NETWORKS = ("unet", "vae", "text_encoder", "text_encoder_2", "projection_model", "language_model", "vocoder")
_TOKENIZERS = ("tokenizer", "tokenizer_2")
_PATTERNS = (
    "model_index.json", "scheduler/*.json", "feature_extractor/*.json",
    *(f"{part}/{name}" for part in _NETWORKS for name in ("*.json", "*.safetensors")),
    *(f"{part}/{name}" for part in _TOKENIZERS for name in ("*.json", "*.txt", "*.model")),
)  # fmt: skip


def _card(name: str, title: str, about: str) -> Card:
    return Card(
        id=name,
        family="audioldm2",
        title=title,
        description=f"{about} from a description; mono, 16 kHz, up to {MAX_DURATION_S:g} s.",
        tasks=("music", "sound"),
        source=f"hf:cvssp/{name}",
        revision="main",
        patterns=_PATTERNS,
        code_license="Apache-2.0",
        weight_license="CC-BY-NC-SA-4.0",
        forbids="no commercial use; what is made of the weights is shared under the same licence",
        consent_required=True,
        sample_rate=SAMPLE_RATE,
        channels=1,
        max_duration_s=MAX_DURATION_S,
        devices=("cuda", "rocm", "cpu"),
        concurrency=SLOTS,
        service="audioldm2",
        default_port=2010,
    )


CARDS = (
    _card("audioldm2", "AudioLDM 2", "Sound and music"),
    _card("audioldm2-large", "AudioLDM 2 large", "Sound and music, with a network twice the size,"),
    _card("audioldm2-music", "AudioLDM 2 music", "Music"),
)
