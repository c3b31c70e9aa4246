"""`/services/NAME/…`: a model's own service, through this port and its keys."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from typing import Annotated
from urllib.parse import quote

import httpx
from fastapi import APIRouter, Path, Query, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tonewheel.errors import Cancelled, ModelCrashed, NotFound, TooLarge, Unavailable
from tonewheel.gateway import document as doc
from tonewheel.gateway.auth import needs
from tonewheel.gateway.backend import Backend
from tonewheel.gateway.models import ServiceAddress
from tonewheel.gateway.outwards import trust
from tonewheel.gateway.routes import backend_of, caller_of
from tonewheel.serving.edge import asked_method
from tonewheel.serving.presence import while_here

router = APIRouter(tags=["services"])

MAX_BODY_BYTES = 64 * 1024 * 1024  # audio goes in; each service has a cap of its own below this
# What concerns one connection only (RFC 9110 §7.6.1), and what is ours to say.
_NOT_PASSED = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
    "upgrade", "host", "authorization", "x-api-key", "xi-api-key", "cookie", "set-cookie", "server", "date", "origin",
    "x-request-id", "traceparent", "location", "forwarded", "x-forwarded-for", "x-forwarded-host",
})  # fmt: skip
_PLAIN = "/:@!$&'()*+,;=~"  # besides letters, digits, - . _ (RFC 3986 §3.3)
Name = Annotated[
    str, Path(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$", description="A service or a model, such as composer.")
]
Rest = Annotated[str, Path(description="An address of the service.", examples=["predict"])]
_ANY = {"application/json": {"example": {"status": "ok", "service": "composer"}}}


@router.get(
    "/services/{name}/{path:path}", summary="Ask a model's service", dependencies=[needs("read")],
    response_class=Response, responses={200: {"description": "What the service answered", "content": _ANY}},
)  # fmt: skip
async def ask(request: Request, name: Name, path: Rest) -> Response:
    """Its process is started if it does not run."""
    return await _pass_on(request, name, path)


@router.post(
    "/services/{name}/{path:path}", summary="Have a model's service work", dependencies=[needs("generate")],
    response_class=Response, responses={200: {"description": "What the service answered", "content": _ANY}},
    openapi_extra={"requestBody": {"content": {
        "application/json": {"schema": {"type": "object"}, "example": {"narrative": doc.NARRATIVE, "duration": 30}}
    }}},
)  # fmt: skip
async def work(
    request: Request,
    name: Name,
    path: Rest,
    keep_alive: Annotated[
        str | None, Query(max_length=40, description="How long the model stays afterwards: 0, -1 (always), 30m …")
    ] = None,
) -> Response:
    """At once, without a queue: a busy service answers 503. Bodies are streamed both ways."""
    return await _pass_on(request, name, path, keep_alive)


@router.delete(
    "/services/{name}/{path:path}", summary="Let go of a file of a service", status_code=204,
    dependencies=[needs("generate")], response_class=Response,
)  # fmt: skip
async def drop(request: Request, name: Name, path: Rest) -> Response:
    """Such as DELETE /services/composer/v1/files/ID."""
    return await _pass_on(request, name, path)


async def _pass_on(request: Request, name: str, path: str, keep_alive: str | None = None) -> Response:
    if any(part in (".", "..") for part in path.split("/")) or "\\" in path or "\0" in path:
        raise NotFound("there is no such address", param="path")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        raise _too_large()
    held = _Held(backend_of(request), name, keep_alive)
    address = await held.open()
    read = asyncio.Event()  # the body: it goes on while we listen for the client
    try:
        return await while_here(request.receive, _exchange(request, name, path, held, address, read), read)
    except BaseException:
        await asyncio.shield(held.close())
        raise


async def _exchange(
    request: Request, name: str, path: str, held: _Held, address: ServiceAddress, read: asyncio.Event
) -> Response:
    method = asked_method(request.scope)
    caller = caller_of(request)
    headers = [(k, v) for k, v in request.headers.items() if k not in _NOT_PASSED]
    headers += [("x-request-id", caller.request_id), ("traceparent", caller.trace.traceparent())]
    headers += list(address.headers.items())
    timeout = httpx.Timeout(None, connect=10.0)  # the service has deadlines of its own
    client = httpx.AsyncClient(base_url=address.url, timeout=timeout, trust_env=False, verify=trust(address.url))
    held.files.push_async_callback(client.aclose)
    # Quoted here: httpx takes no control characters, which a path may hold as much as anything.
    url = httpx.URL(path=f"/{quote(path, safe=_PLAIN)}", query=request.url.query.encode())
    body = _body(request, read) if method == "POST" else None
    if body is None:
        read.set()
    asked = client.build_request(method, client.base_url.join(url), headers=headers, content=body)
    try:
        answer = await client.send(asked, stream=True)
    except httpx.ConnectError:
        raise Unavailable(f"the service {name} cannot be reached: is it running?") from None
    except httpx.HTTPError as e:
        if address.private:
            raise Unavailable(f"the service {name} broke off ({type(e).__name__})") from None
        raise ModelCrashed(f"the process of {name} ended while it worked: it is started again if need be") from None
    held.files.push_async_callback(answer.aclose)
    passed = {k: v for k, v in answer.headers.items() if k not in _NOT_PASSED}
    passed["x-content-type-options"] = "nosniff"
    if address.private and "json" in answer.headers.get("content-type", ""):
        return await _without_url(answer, name, held, address, passed)
    return _Passed(answer, held, passed)


async def _without_url(
    answer: httpx.Response, name: str, held: _Held, address: ServiceAddress, headers: dict[str, str]
) -> Response:
    """The JSON of a service elsewhere: where it tells its own address, ours stands instead."""
    data = await answer.aread()
    await held.close()
    for secret in address.private:
        data = data.replace(secret.encode(), f"/services/{name}".encode())
    kept = {k: v for k, v in headers.items() if k not in ("content-length", "content-encoding")}
    return Response(data, answer.status_code, kept)


async def _body(request: Request, read: asyncio.Event) -> AsyncIterator[bytes]:
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > MAX_BODY_BYTES:
            raise _too_large()
        yield piece
    read.set()


def _too_large() -> TooLarge:
    return TooLarge(f"the body is larger than {MAX_BODY_BYTES:,} bytes: send less", param="body")


class _Passed(Response):
    """The answer of a service, piece by piece. Its process is let go of in every case; when the client goes away,
    the connection to it is closed, which stops what it is doing."""

    def __init__(self, answer: httpx.Response, held: _Held, headers: dict[str, str]) -> None:
        super().__init__(None, answer.status_code, headers)
        if "content-length" not in answer.headers:
            del self.headers["content-length"]
        self._answer, self._held = answer, held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with contextlib.suppress(ClientDisconnect):
                await while_here(receive, self._send(send))
        finally:
            await asyncio.shield(self._held.close())

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for piece in self._answer.aiter_raw():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Held:
    """A model's process, kept for as long as we speak with it. Starting it takes a thread."""

    def __init__(self, backend: Backend, name: str, keep_alive: str | None = None) -> None:
        self.files = contextlib.AsyncExitStack()
        self._using = backend.models.using(name, self._check, keep_alive)
        self._backend = backend
        self._gone = threading.Event()

    async def open(self) -> ServiceAddress:
        try:
            address = await asyncio.to_thread(self._using.__enter__)
        except asyncio.CancelledError:
            self._gone.set()
            raise
        self.files.push_async_callback(asyncio.to_thread, self._using.__exit__, None, None, None)
        return address

    async def close(self) -> None:
        await self.files.aclose()

    def _check(self) -> None:
        if self._gone.is_set() or self._backend.stopping.is_set():
            raise Cancelled("the request was called off")
