"""MusicGen on our own engine: music from a description, batched, streamed, continued (Copet et al. 2023)."""

from __future__ import annotations

from typing import Any

from tonewheel.models.base import Card, Family, Model
from tonewheel.models.extra import needing
from tonewheel.models.musicgen.card import CARDS
from tonewheel.models.musicgen.memory import memory_bytes
from tonewheel.models.musicgen.prompt import from_plan
from tonewheel.models.musicgen.request import MusicgenRequest, MusicgenResponse


def _create(card: Card) -> Model[Any]:
    with needing("models", card.id):
        from tonewheel.models.musicgen.model import Musicgen  # noqa: PLC0415  (torch comes with it)

    return Musicgen(card)


FAMILY = Family(
    name="musicgen",
    title="MusicGen",
    cards=CARDS,
    request=MusicgenRequest,
    response=MusicgenResponse,
    create=_create,
    memory_bytes=memory_bytes,
    max_body_bytes=64 * 1024 * 1024,  # two files in base64
    from_plan=from_plan,
)
