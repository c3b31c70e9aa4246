"""The outermost layer of a service: ids, trace, who may ask, metrics, and the last net for errors.

Plain ASGI, not Starlette's BaseHTTPMiddleware: that one hides a client's going away from the work inside.
"""

from __future__ import annotations

import hmac
import json
import re
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tonewheel import telemetry
from tonewheel.errors import Forbidden, Unauthorized
from tonewheel.serving.faults import told
from tonewheel.serving.metrics import Metrics
from tonewheel.serving.work import Caller
from tonewheel.telemetry import TraceContext

CALLER = "tonewheel.caller"  # where in the ASGI scope the caller is found
_ASKED = "tonewheel.asked"  # and the method, where it is told to the application as another one
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_OPEN = frozenset({"/health", "/healthz", "/readyz"})  # asked by load balancers, which have no key
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})
_QUIET = _OPEN | {"/metrics"}  # asked every few seconds: no spans
_SAFE = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask. `hosts` None = whatever `Host` says (behind a key or a Unix socket)."""

    api_key: str | None = None
    hosts: frozenset[str] | None = _LOOPBACK

    @classmethod
    def loopback(cls, api_key: str | None, more_hosts: Iterable[str] = ()) -> Access:
        return cls(api_key, _LOOPBACK | {h.strip().lower() for h in more_hosts if h.strip()})

    @classmethod
    def anywhere(cls, api_key: str | None) -> Access:
        return cls(api_key, None)

    def check(self, method: str, path: str, headers: Headers) -> None:
        """Raises Forbidden or Unauthorized.

        A page on the web may let a browser send requests to loopback, by DNS rebinding (then `Host` is the page's)
        or as a cross-site form (then `Origin` is): both are refused.
        """
        host = headers.get("host", "")
        if self.hosts is not None and _name(host) not in self.hosts:
            raise Forbidden(
                f"host {host[:80]!r} is not served here: use 127.0.0.1, or add it to TONEWHEEL_ALLOWED_HOSTS",
                param="host",
            )
        origin = headers.get("origin")
        if origin is not None and method not in _SAFE and origin.partition("://")[2].lower() != host.lower():
            raise Forbidden(f"requests from pages of {origin[:80]!r} are not taken", param="origin")
        if self.api_key and path not in _OPEN and not self._knows(headers):
            raise Unauthorized("an API key is needed: send it as 'Authorization: Bearer KEY'")

    def _knows(self, headers: Headers) -> bool:
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        given = bearer.strip() if kind.lower() == "bearer" else headers.get("x-api-key", "")
        return hmac.compare_digest(given.encode("latin-1"), (self.api_key or "").encode())


def _name(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.rpartition(":")[0].lower() if ":" in host else host.lower()


def request_id_of(headers: Headers) -> str:
    """The client's `X-Request-Id` where it is sane, otherwise a new one."""
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def asked_method(scope: Scope) -> str:
    """The method as the client sent it: HEAD is told to the application as GET, which some answers cost much for."""
    return str(scope.get(_ASKED, scope["method"]))


class Edge:
    """ASGI middleware around a whole service."""

    def __init__(self, app: ASGIApp, metrics: Metrics, access: Access) -> None:
        self._app, self._metrics, self._access = app, metrics, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            # The same answer; the server leaves its body out, as it sees HEAD in its own scope.
            scope = {**scope, "method": "GET", _ASKED: "HEAD"}
        headers = Headers(scope=scope)
        request_id, parent = request_id_of(headers), TraceContext.parse(headers.get("traceparent"))
        method, path = scope["method"], scope["path"]
        if path in _QUIET or not telemetry.is_on():
            context = TraceContext.child_of(parent)
            await self._serve(scope, receive, send, Caller(request_id, context))
            return
        attributes = {telemetry.HTTP_METHOD: method, telemetry.REQUEST_ID: request_id}
        with telemetry.span(method, kind="server", parent=parent, attributes=attributes) as span:
            status = await self._serve(scope, receive, send, Caller(request_id, span.context))
            span.set(telemetry.HTTP_STATUS, status)
            span.set(telemetry.HTTP_ROUTE, _route(scope))
            span.rename(f"{method} {_route(scope)}")  # the template: paths hold ids

    async def _serve(self, scope: Scope, receive: Receive, send: Send, caller: Caller) -> int:
        scope[CALLER] = caller
        reply = _Reply(send, caller)
        started = time.monotonic()
        try:
            self._access.check(scope["method"], scope["path"], Headers(scope=scope))
            await self._app(scope, receive, reply)
        except Exception as error:
            # What came after the start of an answer cannot be told any more: the connection breaks off.
            if reply.status:
                raise
            await reply.error(error)
        self._metrics.answered(_route(scope), reply.status, time.monotonic() - started)
        return reply.status


class _Reply:
    """The answer on its way out: our headers added, its status noted."""

    def __init__(self, send: Send, caller: Caller) -> None:
        self._send, self._caller = send, caller
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [
                *message.get("headers", []),
                (b"x-request-id", self._caller.request_id.encode()),
                (b"traceparent", self._caller.trace.traceparent().encode()),
            ]
        await self._send(message)

    async def error(self, error: Exception) -> None:
        status, body, headers = told(error, self._caller.request_id)
        await send_json(self, status, body, headers)


async def send_json(send: Send, status: int, body: Any, headers: dict[str, str]) -> None:
    data = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
    raw = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    raw += [(k.encode(), v.encode()) for k, v in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": data})


def _route(scope: Scope) -> str:
    """The route's template: paths themselves may be anything and would fill the metrics."""
    return str(getattr(scope.get("route"), "path", "other"))
