"""The built-in composer: a narrative or a song plan becomes a finished, mastered song. No weights, CPU only."""

from __future__ import annotations

from typing import Any

from tonewheel.models.base import Card, Family, Model
from tonewheel.models.composer.card import CARD, memory_bytes
from tonewheel.models.composer.contract import ComposerRequest, ComposerResponse


def _create(card: Card) -> Model[Any]:
    from tonewheel.models.composer.model import Composer  # noqa: PLC0415  (numpy and the synth load with it)

    return Composer(card)


FAMILY = Family(
    name="composer",
    title="Composer",
    cards=(CARD,),
    request=ComposerRequest,
    response=ComposerResponse,
    create=_create,
    memory_bytes=memory_bytes,
    max_body_bytes=2 * 1024 * 1024,  # the largest song plan is 1 MB
)
