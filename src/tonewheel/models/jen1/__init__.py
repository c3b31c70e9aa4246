"""jen1, the song planner: a narrative becomes a GeneratedSong. Its names are those its clients already use."""

from __future__ import annotations

from typing import Any

from tonewheel.models.base import Card, Family, InfoRoute, Model, WorkRoute
from tonewheel.models.jen1.card import CARD, memory_bytes
from tonewheel.models.jen1.contract import Jen1Request, Jen1Response


def _create(card: Card) -> Model[Any]:
    from tonewheel.models.jen1.model import Jen1  # noqa: PLC0415  (the planner loads with it)

    return Jen1(card)


def _debug_torch(model: Model[Any]) -> dict[str, Any]:
    from tonewheel.models.jen1.model import torch_state  # noqa: PLC0415

    return torch_state(model)


def _debug_model(model: Model[Any]) -> dict[str, Any]:
    from tonewheel.models.jen1.model import model_state  # noqa: PLC0415

    return model_state(model)


FAMILY = Family(
    name="jen1",
    title="Song planner",
    cards=(CARD,),
    request=Jen1Request,
    response=Jen1Response,
    create=_create,
    memory_bytes=memory_bytes,
    routes=(
        WorkRoute("/generate", "Plan a song (the same as /predict)", Jen1Request, Jen1Response),
        InfoRoute("/debug/torch", "Whether a torch planner is there", _debug_torch),
        InfoRoute("/debug/model", "Which planner answers", _debug_model),
    ),
    max_body_bytes=2 * 1024 * 1024,  # options may hold a whole song
)
