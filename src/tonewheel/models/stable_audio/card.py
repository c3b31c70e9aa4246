"""What is known of the Stable Audio models before one is loaded (Evans et al. 2024, "Stable Audio Open"; Stability AI
2026, "Stable Audio 3")."""

from __future__ import annotations

from dataclasses import dataclass

from tonewheel.models.base import Card

SAMPLE_RATE = 44_100
OPEN_MAX_S = 47.0  # contracts.md, 2009; its 1024 latent frames are 47.55 s
MAX_DURATION_S = 380.0  # of the longest, Stable Audio 3 medium
AT_ONCE = 8  # requests that wait or are rendered together

_LICENSE = "Stability AI Community License"
_FORBIDS = (
    "no use by or for those with more than 1 M USD of revenue a year without a licence of Stability AI's, no training "
    "of other foundation models with what it makes, nothing that its acceptable use policy excludes"
)
# Folders of a diffusers checkpoint, and the raw files that diffusers' converter makes one of.
_FOLDERS = ("transformer", "vae", "text_encoder", "projection_model", "duration_embedder")
_PATTERNS = (
    "model_index.json", "scheduler/*.json", "tokenizer/*.json", "tokenizer/*.model",
    *(f"{folder}/{file}" for folder in _FOLDERS for file in ("config.json", "*.safetensors", "*.index.json")),
)  # fmt: skip
_RAW = ("model.safetensors", "model_config.json")


@dataclass(frozen=True, slots=True)
class Third:
    """What sets the checkpoints of Stable Audio 3 apart. `steps` and `guidance_scale` are used where none is asked."""

    steps: int
    guidance_scale: float


DISTILLED, BASE = Third(8, 1.0), Third(100, 7.0)


def _card(name: str, title: str, description: str, max_s: float, *, third: bool = True) -> Card:
    return Card(
        id=f"stable-audio-{name}",
        family="stable_audio",
        title=title,
        description=description,
        tasks=("music", "sound"),
        source=f"hf:stabilityai/stable-audio-{name}" + ("" if third else "-1.0"),
        revision="main",
        patterns=(*_PATTERNS, *_RAW) if third else _PATTERNS,
        code_license="Apache-2.0",
        weight_license=_LICENSE,
        consent_required=True,
        forbids=_FORBIDS,
        sample_rate=SAMPLE_RATE,
        channels=2,
        max_duration_s=max_s,
        devices=("cuda", "rocm", "cpu"),
        concurrency=AT_ONCE,
        deadline_s=900.0,  # without a GPU even short audio takes minutes
        service="stable-audio",
        default_port=2009,
    )


_CONVERT = "Its source is in Stability's own layout: convert it once, see docs/stable_audio.md."
CARDS = (
    _card("open", "Stable Audio Open 1.0", "Textures, loops and sounds from a description; stereo, 44.1 kHz.",
          OPEN_MAX_S, third=False),
    _card("3-medium", "Stable Audio 3 medium", "Music and sounds from a description in 8 steps; variations of a "
          f"recording, parts of one made anew. {_CONVERT}", MAX_DURATION_S),
    _card("3-medium-base", "Stable Audio 3 medium, base", "The same before it was distilled: 100 steps, guidance, "
          f"negative prompts. {_CONVERT}", MAX_DURATION_S),
    _card("3-small-music", "Stable Audio 3 small, music", f"Music to 2 minutes in 8 steps. {_CONVERT}", 120.0),
    _card("3-small-sfx", "Stable Audio 3 small, sounds", f"Sounds to 2 minutes in 8 steps. {_CONVERT}", 120.0),
)  # fmt: skip


def third(card: Card) -> Third | None:
    """What is special of a Stable Audio 3 checkpoint; None = it is Open 1.0."""
    if not card.id.startswith("stable-audio-3"):
        return None
    return BASE if card.id.endswith("-base") else DISTILLED
