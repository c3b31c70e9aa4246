"""heart_transcriptor: the words of a song and when they are sung, by HeartTranscriptor, a Whisper tuned on songs."""

from __future__ import annotations

from typing import Any

from tonewheel.models.base import Card, Family, Model
from tonewheel.models.extra import needing
from tonewheel.models.heart_transcriptor.card import CARDS
from tonewheel.models.heart_transcriptor.contract import TranscriptionRequest, TranscriptionResponse
from tonewheel.models.heart_transcriptor.memory import memory_bytes


def _create(card: Card) -> Model[Any]:
    with needing("models", card.id):
        from tonewheel.models.heart_transcriptor.model import Transcriptor  # noqa: PLC0415  (torch loads with it)

    return Transcriptor(card)


FAMILY = Family(
    name="heart_transcriptor",
    title="Sung words",
    cards=CARDS,
    request=TranscriptionRequest,
    response=TranscriptionResponse,
    create=_create,
    memory_bytes=memory_bytes,
    max_body_bytes=128 * 1024 * 1024,  # ten minutes of 16-bit stereo, or an hour of MP3
)
