"""The body of a request: read with a cap, parsed, made into the model's request type. Everything wrong is 422."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from typing import TypeVar

from pydantic import ValidationError
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from tonewheel.errors import InvalidRequest, ReadTimeout, TooLarge
from tonewheel.explain import explain
from tonewheel.models.base import ModelRequest

R = TypeVar("R", bound=ModelRequest)
READ_TIMEOUT_S = 30.0  # between two pieces of a body
_MAX_PARTS = 64


async def read_body(request: Request, cap: int) -> bytes:
    """The whole body, at most `cap` bytes of it in memory whatever is sent.

    Raises TooLarge as soon as it is known, ReadTimeout, InvalidRequest for a compressed or empty body,
    ClientDisconnect.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise InvalidRequest("compressed bodies are not taken: send it without Content-Encoding", param="body")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > cap:
        raise TooLarge(_too_large(cap), param="body")
    body = bytearray()
    while True:
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):  # wait_for of Python 3.11 may swallow a cancel
                message = await request.receive()
        except TimeoutError:
            raise ReadTimeout(f"nothing more of the body came for {READ_TIMEOUT_S:.0f} s", param="body") from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > cap:
            raise TooLarge(_too_large(cap), param="body")
        if not message.get("more_body", False):
            break
    if not body:
        raise InvalidRequest("the body is empty: send a JSON object", param="body")
    return bytes(body)


def _too_large(cap: int) -> str:
    return f"the body is larger than {cap:,} bytes, which is all this service takes: send less"


async def parse_body(kind: type[R], body: bytes, content_type: str, client_job_id: str | None) -> R:
    """A request of type `kind`. Raises InvalidRequest. `client_job_id` comes from the query; the body's goes first."""
    if content_type.partition(";")[0].strip().lower() == "multipart/form-data":
        fields = await _form(body, content_type)
        request = await asyncio.to_thread(_checked, kind, fields)
    else:
        request = await asyncio.to_thread(_checked, kind, body)
    if client_job_id is None:
        return request
    named = _checked(ModelRequest, {"client_job_id": client_job_id})
    if request.client_job_id is None:
        request.client_job_id = named.client_job_id
    return request


def _checked(kind: type[R], body: bytes | dict[str, object]) -> R:
    try:
        return kind.model_validate(body) if isinstance(body, dict) else kind.model_validate_json(body)
    except ValidationError as e:
        raise explain(e, InvalidRequest, "", tuple(kind.model_fields)) from None


async def _form(body: bytes, content_type: str) -> dict[str, object]:
    """The fields of a multipart form: files as bytes, texts as they are, JSON lists and objects as such."""

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    boundary = re.search(r'boundary="?([^";,]+)', content_type)
    # The parser takes what came before a break for the whole form.
    if boundary is None or f"--{boundary[1].strip()}--".encode() not in body:
        raise InvalidRequest("the form cannot be read: it has no boundary or does not end with it", param="body")
    parser = MultiPartParser(
        Headers({"content-type": content_type}), stream(), max_files=_MAX_PARTS, max_fields=_MAX_PARTS,
        max_part_size=len(body) + 1,
    )  # fmt: skip
    try:
        form = await parser.parse()
    except MultiPartException as e:
        raise InvalidRequest(f"the form cannot be read: {e.message}", param="body") from None
    fields: dict[str, object] = {}
    for name, value in form.multi_items():
        if name in fields:
            raise InvalidRequest(f"field {name[:60]!r} is given twice: write lists as JSON", param=name[:60])
        fields[name] = await value.read() if isinstance(value, UploadFile) else _text(value)
    await form.close()
    return fields


def _text(value: str) -> object:
    if value[:1] not in ("[", "{"):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
