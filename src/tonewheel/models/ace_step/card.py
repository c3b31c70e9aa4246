"""What is known of the ACE-Step models before one is loaded: three checkpoints of one network (arXiv:2602.00744)."""

from __future__ import annotations

from dataclasses import dataclass

from tonewheel.models.base import Card
from tonewheel.songs.plan import MAX_DURATION_S

SAMPLE_RATE = 48_000
SLOTS = 8  # songs at once: as many as its authors batch
_LICENSE = "MIT"


@dataclass(frozen=True, slots=True)
class Manner:
    """How a checkpoint is meant to be run. With another's shift it sings badly (upstream issues 250, 1114)."""

    steps: int
    guidance_scale: float  # 1 = none
    shift: float
    guided: bool  # False: guidance was distilled into the weights and is never applied


# diffusers names a checkpoint's manner `model_version` in transformer/config.json. Steps and shift: upstream's
# docs/INFERENCE.md and issue 1114; guidance 7 is the default of both upstream and diffusers.
MANNERS = {
    "turbo": Manner(steps=8, guidance_scale=1.0, shift=3.0, guided=False),
    "base": Manner(steps=50, guidance_scale=7.0, shift=1.0, guided=True),
    "sft": Manner(steps=50, guidance_scale=7.0, shift=1.0, guided=True),
}
_ABOUT = {
    "turbo": "eight steps without guidance, the quickest",
    "base": "fifty steps with guidance, the widest range",
    "sft": "fifty steps with guidance, tuned to follow its words",
}
_NETWORKS = ("transformer", "condition_encoder", "text_encoder", "vae", "audio_tokenizer", "audio_token_detokenizer")
_PATTERNS = (
    "model_index.json", "scheduler/*.json", "tokenizer/*.json", "tokenizer/*.txt",
    *(f"{part}/{name}" for part in _NETWORKS for name in ("*.json", "*.safetensors")),
)  # fmt: skip


def version_of(model: str) -> str:
    """`turbo` of `ace-step-turbo`."""
    return model.removeprefix("ace-step-")


def _card(version: str) -> Card:
    return Card(
        id=f"ace-step-{version}",
        family="ace_step",
        title=f"ACE-Step 1.5 XL {version}",
        description=f"Songs with voice, 10 s to 10 min, from a description, lyrics, tempo and key; {_ABOUT[version]}.",
        tasks=("song", "music"),
        source=f"hf:ACE-Step/acestep-v15-xl-{version}-diffusers",
        revision="main",
        patterns=_PATTERNS,
        code_license="Apache-2.0",  # of diffusers, which runs it
        weight_license=_LICENSE,
        sample_rate=SAMPLE_RATE,
        channels=2,
        max_duration_s=MAX_DURATION_S,
        devices=("cuda", "rocm", "cpu"),
        concurrency=SLOTS,
        deadline_s=3600.0,
        service="ace-step",
        default_port=2014,
    )


CARDS = tuple(_card(version) for version in MANNERS)
