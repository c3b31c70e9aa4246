"""clap: recordings and texts in one space, by LAION's CLAP (ICASSP 2023) in transformers' layout."""

from __future__ import annotations

from typing import Any

from tonewheel.models.base import Card, Family, Model
from tonewheel.models.clap.card import CARDS, memory_bytes
from tonewheel.models.clap.contract import ClapRequest, ClapResponse
from tonewheel.models.extra import needing


def _create(card: Card) -> Model[Any]:
    with needing("models", card.id):
        from tonewheel.models.clap.model import Clap  # noqa: PLC0415  (torch loads with it)

    return Clap(card)


FAMILY = Family(
    name="clap",
    title="Embeddings, genre and mood",
    cards=CARDS,
    request=ClapRequest,
    response=ClapResponse,
    create=_create,
    memory_bytes=memory_bytes,
    max_body_bytes=128 * 1024 * 1024,  # ten minutes of 16-bit stereo, or an hour of MP3
)
