"""What a request will take of a model on this machine: memory, time; told before anything is started."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from tonewheel.errors import InvalidRequest
from tonewheel.explain import explain
from tonewheel.fleet.clock import expected_here
from tonewheel.fleet.remote import deadline_seconds
from tonewheel.fleet.room import Need
from tonewheel.models.base import Card, Family, ModelRequest
from tonewheel.models.clock import longer_if_forced


def read_request(family: Family, body: Mapping[str, Any]) -> ModelRequest:
    """The request as its family reads it: a mistake is told before anything is started. Raises InvalidRequest."""
    try:
        return family.request.model_validate(dict(body))
    except ValidationError as error:
        raise explain(error, InvalidRequest, "", tuple(family.request.model_fields)) from None


def memory_need(family: Family, card: Card, request: ModelRequest | None) -> tuple[Need, int]:
    """What the model takes with this request, and what it takes idle."""
    idle = family.memory_bytes(card, None)
    return Need(card.id, card.devices, max(idle, family.memory_bytes(card, request))), idle


def work_seconds(family: Family | None, card: Card | None, body: Mapping[str, Any]) -> float:
    """What the work on a request may take here. Raises InvalidRequest."""
    assert family is not None and card is not None
    limit_s = deadline_seconds(card.id, audio_seconds(body))
    if family.estimate is None:
        return limit_s
    request = read_request(family, body)
    return longer_if_forced(limit_s, request, expected_here(family, card, request))


def audio_seconds(body: Mapping[str, Any]) -> float:
    """Seconds of audio a request asks for, as far as can be told without reading it as its family does."""
    for name in ("duration", "duration_s"):
        value = body.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    return 30.0
