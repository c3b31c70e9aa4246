"""AudioLDM 2: music and other sound from a description, by latent diffusion (Liu et al. 2023)."""

from __future__ import annotations

from typing import Any

from tonewheel.models.audioldm2.card import CARDS
from tonewheel.models.audioldm2.memory import estimate, memory_bytes
from tonewheel.models.audioldm2.request import Audioldm2Request, Audioldm2Response, from_plan
from tonewheel.models.base import Card, Family, Model
from tonewheel.models.extra import needing


def _create(card: Card) -> Model[Any]:
    with needing("diffusion", card.id):
        from tonewheel.models.audioldm2.model import Audioldm2  # noqa: PLC0415  (torch comes with it)

    return Audioldm2(card)


FAMILY = Family(
    name="audioldm2",
    title="AudioLDM 2",
    cards=CARDS,
    request=Audioldm2Request,
    response=Audioldm2Response,
    create=_create,
    memory_bytes=memory_bytes,
    from_plan=from_plan,
    estimate=estimate,
)
