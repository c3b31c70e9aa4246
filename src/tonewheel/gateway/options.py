"""`options` of an order: a model's own settings, checked before the job is accepted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from tonewheel.errors import InvalidRequest, UnknownName
from tonewheel.explain import explained
from tonewheel.jobs import SongRequest
from tonewheel.models.base import Family

# What an order says itself, and what its job says to the model: set here, they would contradict it.
_NOT_OPTIONS = frozenset(SongRequest.model_fields) | {"duration", "client_job_id"}
_SEVERAL = ("num_variations", "num_waveforms_per_prompt")  # one job is one song


def check_options(options: Mapping[str, Any], family: Family | None) -> None:
    """Raises UnknownName or InvalidRequest for what the model does not have or take, in the words of its service;
    `family` None = a model of which only the contract is known, which checks them itself."""
    for name in options:
        place = f"options.{name[:60]}"
        if name in _SEVERAL:
            raise InvalidRequest(f"{place} would make songs that nobody gets: order them as `variations`", param=place)
        if name in _NOT_OPTIONS:
            raise InvalidRequest(f"{place} is no option of a model: give it in the order itself", param=place)
        if family is not None and name not in family.request.model_fields:
            known = set(family.request.model_fields) - _NOT_OPTIONS - {*_SEVERAL}
            if not known:
                raise InvalidRequest(f"{family.cards[0].id} has no options: leave out {place}", param=place)
            raise UnknownName("option", name, known, param=place)
    if family is not None and options:
        _check_values(options, family)


def _check_values(options: Mapping[str, Any], family: Family) -> None:
    """As the model reads them. What it lacks beside them (a prompt, a plan) its job gives."""
    known = family.request.model_fields
    given = {"prompt": "a song"} if "prompt" in known else {}
    try:
        family.request.model_validate({**given, **options})
    except ValidationError as wrong:
        found = [fault | {"loc": ("options", *fault["loc"])} for fault in wrong.errors(include_url=False)
                 if fault["loc"] and fault["loc"][0] in options]  # fmt: skip
        if found:
            raise explained(found, InvalidRequest) from None
    except InvalidRequest as wrong:
        if wrong.param is None or wrong.param not in known or wrong.param in _NOT_OPTIONS:
            return
        named = wrong.message.startswith(f"{wrong.param}: ")
        raise InvalidRequest(
            f"options.{wrong.message}" if named else wrong.message, param=f"options.{wrong.param}"
        ) from None
