"""Errors as answers: what a handler raises becomes a response here, in a service and in the gateway alike."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, cast

from fastapi.exceptions import RequestValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tonewheel.errors import InvalidRequest, MethodNotAllowed, NotFound, TonewheelError, TooLarge
from tonewheel.explain import explained
from tonewheel.serving.answer import JSONWithFiles
from tonewheel.serving.edge import CALLER
from tonewheel.serving.faults import told
from tonewheel.serving.ranges import RangeNotSatisfiable

GONE = 499  # nobody reads it; the log and the metrics do
_DRAIN_S = 2.0  # how long the rest of a refused body is read, so that its sender gets to read the answer


class Refusal(JSONWithFiles):
    """An error answer. After a body that was too large the rest of it is read and dropped for a moment:
    a connection closed over unread bytes is reset, and its sender would never see why."""

    def __init__(self, error: TonewheelError, request: Request, more: dict[str, str] | None = None) -> None:
        status, body, headers = told(error, request.scope[CALLER].request_id)
        super().__init__(body, status, headers | (more or {}))
        self._drain = isinstance(error, TooLarge)
        if self._drain:
            self.headers["connection"] = "close"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        body = b"".join(p for p in self.pieces if isinstance(p, bytes))
        await send({"type": "http.response.body", "body": body, "more_body": True})
        if self._drain:
            with suppress(TimeoutError):
                await asyncio.wait_for(_rest(receive), _DRAIN_S)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _rest(receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, TonewheelError)
    return Refusal(error, request)


async def from_http(request: Request, error: Exception) -> Response:
    """Starlette's own 404 and 405 in our shape: what `HANDLERS` does with an HTTPException."""
    assert isinstance(error, HTTPException)
    path = request.url.path[:80]
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        wrong: TonewheelError = MethodNotAllowed(f"{path} does not take {request.method[:20]}: use {allowed}")
        return Refusal(wrong, request, {"allow": allowed})
    if error.status_code == 404:
        return Refusal(NotFound(f"there is nothing at {path}: GET /v1/metadata lists what there is"), request)
    return Refusal(InvalidRequest(str(error.detail)), request)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = [{**fault, "loc": fault["loc"][1:]} for fault in error.errors()]  # without "query", "path" or "header"
    return Refusal(explained(cast("list[ErrorDetails]", found), InvalidRequest), request)


async def _left(_request: Request, _error: Exception) -> Response:
    return Response(status_code=GONE)


async def _not_in_range(request: Request, error: Exception) -> Response:
    assert isinstance(error, RangeNotSatisfiable)
    return Refusal(error, request, {"content-range": f"bytes */{error.size}"})


HANDLERS: dict[int | type[Exception], Any] = {
    RangeNotSatisfiable: _not_in_range,
    TonewheelError: _ours,
    HTTPException: from_http,
    RequestValidationError: _invalid,
    ClientDisconnect: _left,
}
