"""What is known of the composer before it is loaded."""

from __future__ import annotations

from tonewheel import __version__
from tonewheel.models.base import Card
from tonewheel.models.composer.contract import ComposerRequest
from tonewheel.songs.plan import MAX_DURATION_S

CARD = Card(
    id="composer",
    family="composer",
    title="Tonewheel composer",
    description="Writes, plays, mixes and masters songs in the styles of `tonewheel styles`; no weights, no GPU.",
    tasks=("song", "music"),
    revision=__version__,
    code_license="Apache-2.0",
    weight_license=None,
    sample_rate=44100,
    channels=2,
    max_duration_s=MAX_DURATION_S,
    concurrency=1,
    service="composer",
    default_port=8901,
)

# Resident memory of the service, measured on Linux with Python 3.11 in three styles: 77 MB loaded, 160-330 MB
# between songs (the instruments stay), at most 215 MB for 10 s, 330 MB for 60 s, 460 MB for 180 s, 870 MB for 600 s.
_IDLE_BYTES = 240 * 1024 * 1024
_WORKING_BYTES = 280 * 1024 * 1024
_BYTES_PER_SECOND = 1.2 * 1024 * 1024


def memory_bytes(_card: Card, request: ComposerRequest | None) -> int:
    """RAM of the process: idle, or while it makes the song of `request`."""
    if request is None:
        return _IDLE_BYTES
    return _WORKING_BYTES + round(_BYTES_PER_SECOND * request.audio_seconds())
