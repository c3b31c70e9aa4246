"""The published checkpoint, and what is known of it before it is loaded."""

from __future__ import annotations

from tonewheel.models.base import Card

LONGEST_S = 3600.0
SAMPLE_RATE = 16_000

CARDS = (
    Card(
        id="heart-transcriptor",
        family="heart_transcriptor",
        title="HeartTranscriptor",
        description="Hears the words of a song and when they are sung; Whisper medium, tuned on songs by HeartMuLa's "
        "authors. Hears separated voices better than mixes.",
        tasks=("transcribe",),
        source="hf:HeartMuLa/HeartTranscriptor-oss",
        revision="main",
        patterns=(
            "config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json",
            "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
            "normalizer.json", "vocab.json", "merges.txt", "model*.safetensors", "model.safetensors.index.json",
        ),
        code_license="Apache-2.0",
        weight_license="Apache-2.0",
        sample_rate=SAMPLE_RATE,
        channels=1,
        max_duration_s=LONGEST_S,
        devices=("cuda", "rocm", "cpu"),
        deadline_s=7200.0,  # an hour of song on slow cores
        service="heart-transcriptor",
        default_port=9921,
    ),
)  # fmt: skip
