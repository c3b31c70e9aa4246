"""The published checkpoints, and what is known of them before they are loaded."""

from __future__ import annotations

from tonewheel.models.base import Card, CardFile
from tonewheel.models.beat_this.contract import BeatThisRequest

# Sizes and hashes as several independent projects note them of what upstream's server gave (2024-2026); upstream
# itself publishes none. Of the others none are known.
_PUBLISHED = {
    "final0": (81_058_141, "8c328b45f59d8dd3dff219253ff6a8d6482be57d0133a29140e2febbf8eb8331"),
    "small0": (8_451_101, "6074be2c4d490c5f6101fcc374a1ec72ae93456e23bb6019783b849f5dc7d47b"),
}
_SOURCE = "https://cloud.cp.jku.at/public.php/dav/files/7ik4RrBKTS273gp"
_SIZES = {"final": 81_058_141, "small": 8_451_101}
LONGEST_S = 3600.0

_ABOUT = {"final": "20 M parameters", "small": "2.1 M parameters: a tenth of the weights, a little less exact"}


def _card(name: str) -> Card:
    kind, seed = name[:-1], name[-1]
    published = _PUBLISHED.get(name)
    known = (CardFile(path=f"{name}.ckpt", size_bytes=published[0], sha256=published[1]),) if published else ()
    return Card(
        id=f"beat-this-{name}",
        family="beat_this",
        title=f"Beat This! {name}",
        description=f"Finds beats and downbeats in recordings of any style. {_ABOUT[kind]}, trained with seed {seed}.",
        tasks=("beats",),
        source=_SOURCE,
        revision=published[1][:12] if published else "main",
        files=known,
        patterns=() if known else (f"{name}.ckpt", f"beat_this-{name}.ckpt", "*.safetensors"),
        code_license="Apache-2.0",
        weight_license="MIT",  # the authors' word: github.com/CPJKU/beat_this, issue 16
        sample_rate=22_050,
        channels=1,
        max_duration_s=LONGEST_S,
        devices=("cuda", "rocm", "cpu"),
        deadline_s=900.0,  # an hour of audio on one slow core; how long a recording is is known only when it is read
        service="beat-this",
        default_port=2012,
    )


# Resident memory of the service, measured on Linux with Python 3.11 and torch 2.13 without a GPU (one thread): final0
# 366 MB loaded, at most 625 MB while it listens; small0 293 and 572 MB. The recording comes on top, at
# 22,050 Hz mono.
_TORCH_BYTES = 300 * 1024 * 1024
_WORKING_BYTES = 280 * 1024 * 1024
_PLAIN = (b"RIFF", b"fLaC", b"FORM")  # files that hold samples nearly as they are; others grow when decoded

CARDS = tuple(_card(name) for name in ("final0", "small0", "final1", "final2", "small1", "small2"))


def checkpoint_name(card: Card) -> str:
    """Upstream's name of the checkpoint, such as final0."""
    return card.id.removeprefix("beat-this-")


def memory_bytes(card: Card, request: BeatThisRequest | None) -> int:
    """RAM of the process, or memory of the GPU it runs on (where it takes less): idle, or while it listens."""
    idle = _TORCH_BYTES + _SIZES[checkpoint_name(card)[:-1]]
    if request is None:
        return idle
    growth = 4 if request.audio[:4] in _PLAIN else 30
    return idle + _WORKING_BYTES + growth * len(request.audio)
