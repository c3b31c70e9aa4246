"""What is known of the planner before it is loaded."""

from __future__ import annotations

from tonewheel import __version__
from tonewheel.models.base import Card
from tonewheel.models.jen1.contract import Jen1Request

CARD = Card(
    id="jen1",
    family="jen1",
    title="Song planner (jen1)",
    description="Plans title, sections, chords and lyrics of a song from a narrative; deterministic by its seed.",
    tasks=("plan",),
    revision=__version__,
    code_license="Apache-2.0",
    weight_license=None,
    concurrency=4,  # a plan takes some 40 ms and a few MB
    service="jen1",
    default_port=4001,
)

_BYTES = 120 * 1024 * 1024  # resident memory of the service, measured on Linux with Python 3.11


def memory_bytes(_card: Card, _request: Jen1Request | None) -> int:
    """RAM of the process; a plan adds next to nothing."""
    return _BYTES
