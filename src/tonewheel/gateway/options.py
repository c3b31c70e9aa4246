"""`options` of an order: a model's own settings, checked before the job is accepted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from tonewheel.errors import InvalidRequest, UnknownName
from tonewheel.jobs import SongRequest
from tonewheel.models.base import Family

# What an order says itself, and what its job says to the model: set here, they would contradict it.
_NOT_OPTIONS = frozenset(SongRequest.model_fields) | {"duration", "client_job_id"}


def check_options(options: Mapping[str, Any], family: Family | None) -> None:
    """Raises UnknownName or InvalidRequest for what the model does not have or take; `family` None = a model of which
    only the contract is known, which checks them itself."""
    for name, value in options.items():
        place = f"options.{name[:60]}"
        if name == "num_variations":  # one job is one song
            raise InvalidRequest(f"{place} would make songs that nobody gets: order them as `variations`", param=place)
        if name in _NOT_OPTIONS:
            raise InvalidRequest(f"{place} is no option of a model: give it in the order itself", param=place)
        if family is None:
            continue
        field = family.request.model_fields.get(name)
        if field is None:
            known = set(family.request.model_fields) - _NOT_OPTIONS
            if not known:
                raise InvalidRequest(f"{family.cards[0].id} has no options: leave out {place}", param=place)
            raise UnknownName("option", name, known, param=place)
        kind: Any = Annotated[field.annotation, field]  # with its limits
        try:
            TypeAdapter(kind).validate_python(value)
        except ValidationError as e:
            told = e.errors(include_url=False, include_input=False)[0]["msg"]
            raise InvalidRequest(f"{place}: {told}", param=place) from None
