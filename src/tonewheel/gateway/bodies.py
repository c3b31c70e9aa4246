"""Bodies of requests: capped while they stream, JSON, exactly the fields and types there are. All else is 422."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from tonewheel.errors import InvalidRequest
from tonewheel.explain import explain
from tonewheel.serving.body import read_body

M = TypeVar("M", bound=BaseModel)
MAX_BODY_BYTES = 2 * 1024 * 1024  # a plan of 100 sections with all their lyrics has some 300 kB


async def body_of(request: Request, kind: type[M], *, strict: bool = True) -> M:
    """The body as `kind`. `strict` = a number in quotes is no number; older contracts take it for one.

    Raises InvalidRequest, TooLarge, ReadTimeout.
    """
    data = await read_body(request, MAX_BODY_BYTES)
    return await asyncio.to_thread(_parsed, kind, data, strict)


def _parsed(kind: type[M], data: bytes, strict: bool) -> M:
    try:
        return kind.model_validate_json(data, strict=strict or None)
    except ValidationError as e:
        raise explain(e, InvalidRequest, "", tuple(kind.model_fields)) from None
