"""Points in time as people and programs write them in a query."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

_LATEST = 1e11  # the year 5138; no clock is that wrong


def seconds_since_1970(text: object) -> object:
    """`2026-11-21`, `2026-11-21T16:00:00+01:00` or `1795276800` in seconds; UTC where no zone is told.

    Raises ValueError for what is none of them.
    """
    if not isinstance(text, str):
        return text
    try:
        return float(text)
    except ValueError:
        pass
    try:
        # In a query a "+" that was not escaped is a blank.
        moment = datetime.fromisoformat(text.strip().replace(" ", "+") if text.count(":") > 2 else text.strip())
    except ValueError:
        raise ValueError(
            f"write a date such as 2026-11-21 or 2026-11-21T16:00:00Z, or seconds since 1970, not {text[:60]!r}"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


Moment = Annotated[
    float,
    BeforeValidator(seconds_since_1970),
    Field(ge=0, le=_LATEST, allow_inf_nan=False),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": _LATEST},
                {"type": "string", "format": "date"},
                {"type": "string", "format": "date-time"},
            ]
        }
    ),
]
