"""HeartMuLa on our own engine: songs with voice from lyrics and tags, batched, streamed (arXiv:2601.10547)."""

from __future__ import annotations

from typing import Any

from tonewheel.models.base import Card, Family, FileRoute, Model, WorkRoute
from tonewheel.models.extra import needing
from tonewheel.models.heartmula.card import CARDS
from tonewheel.models.heartmula.kept import find, to_contract
from tonewheel.models.heartmula.memory import memory_bytes
from tonewheel.models.heartmula.plan import from_plan
from tonewheel.models.heartmula.request import HeartmulaRequest, HeartmulaResponse, MusicGenerated


def _create(card: Card) -> Model[Any]:
    with needing("models", card.id):
        import tokenizers  # noqa: F401, PLC0415

        from tonewheel.models.heartmula.model import Heartmula  # noqa: PLC0415  (torch comes with it)

    return Heartmula(card)


FAMILY = Family(
    name="heartmula",
    title="HeartMuLa",
    cards=CARDS,
    request=HeartmulaRequest,
    response=HeartmulaResponse,
    create=_create,
    memory_bytes=memory_bytes,
    routes=(
        WorkRoute(
            "/v1/music/generations", "Make a song and link to its file", HeartmulaRequest, MusicGenerated,
            to_response=to_contract,
        ),
        FileRoute("/audio/{name}", "A song made by /v1/music/generations, also in ranges", find),
    ),
    from_plan=from_plan,
)  # fmt: skip
