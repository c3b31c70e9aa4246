"""ACE-Step 1.5 on diffusers: songs with voice from a description, lyrics, tempo and key (arXiv:2602.00744)."""

from __future__ import annotations

from typing import Any

from tonewheel.models.ace_step.card import CARDS, MANNERS, version_of
from tonewheel.models.ace_step.memory import estimate, memory_bytes
from tonewheel.models.ace_step.plan import from_plan
from tonewheel.models.ace_step.request import AceStepRequest, AceStepResponse
from tonewheel.models.base import Card, Family, Model
from tonewheel.models.extra import needing


def _create(card: Card) -> Model[Any]:
    with needing("diffusion", card.id):
        from tonewheel.models.ace_step.model import AceStep, AceStepTurbo  # noqa: PLC0415  (torch comes with it)

    return AceStep(card) if MANNERS[version_of(card.id)].guided else AceStepTurbo(card)


FAMILY = Family(
    name="ace_step",
    title="ACE-Step 1.5",
    cards=CARDS,
    request=AceStepRequest,
    response=AceStepResponse,
    create=_create,
    memory_bytes=memory_bytes,
    max_body_bytes=64 * 1024 * 1024,  # two files in base64
    from_plan=from_plan,
    estimate=estimate,
)
