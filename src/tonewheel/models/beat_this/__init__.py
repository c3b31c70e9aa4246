"""beat_this: beats and downbeats of a recording, by Beat This! (ISMIR 2024)."""

from __future__ import annotations

from typing import Any

from tonewheel.models.base import Card, Family, Model
from tonewheel.models.beat_this.card import CARDS, memory_bytes
from tonewheel.models.beat_this.contract import BeatThisRequest, BeatThisResponse
from tonewheel.models.extra import needing


def _create(card: Card) -> Model[Any]:
    with needing("models", card.id):
        from tonewheel.models.beat_this.model import BeatTracker  # noqa: PLC0415  (torch loads with it)

    return BeatTracker(card)


FAMILY = Family(
    name="beat_this",
    title="Beats and downbeats",
    cards=CARDS,
    request=BeatThisRequest,
    response=BeatThisResponse,
    create=_create,
    memory_bytes=memory_bytes,
    max_body_bytes=128 * 1024 * 1024,  # ten minutes of 16-bit stereo, or an hour of MP3
)
