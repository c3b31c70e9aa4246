"""The FastAPI application of the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match

from tonewheel import __version__
from tonewheel.errors import MethodNotAllowed, NotFound, QueueFull
from tonewheel.gateway.access import Gate
from tonewheel.gateway.backend import Backend
from tonewheel.gateway.document import with_bodies
from tonewheel.gateway.metrics import GatewayMetrics
from tonewheel.gateway.routes import (
    analyses,
    artifacts,
    contracts,
    health,
    jobs,
    models,
    plans,
    search,
    services,
    songs,
)
from tonewheel.serving.edge import Edge
from tonewheel.serving.metrics import Metrics
from tonewheel.serving.openapi import ERRORS
from tonewheel.serving.refusals import HANDLERS, Refusal, from_http

_ROOMS = (songs, search, jobs, plans, analyses, artifacts, models, contracts, services, health)
_THREADS = 48  # they wait for the database and the disk, they do not compute
_EXPOSED = ("X-Request-Id", "Location", "ETag", "Content-Range", "Retry-After", "X-Queue-Position", "traceparent")
_DESCRIPTION = (
    "Order songs, follow them, fetch them. Every error has one shape: "
    "`{detail: {type, message, param?, retryable, request_id}}`."
)


def create_app(backend: Backend, gate: Gate | None = None) -> FastAPI:
    """The application over `backend`, whose tables are there. `gate` says whose requests are heard."""
    gate = gate or Gate()
    metrics = GatewayMetrics()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        # Python's own pool has six threads on two cores: a database that is away would hold them all.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, "gateway"))
        yield
        await asyncio.to_thread(backend.close)

    app = FastAPI(
        title="Tonewheel", version=__version__, description=_DESCRIPTION, lifespan=lifespan, docs_url=None,
        redoc_url=None, exception_handlers=_handlers(), responses=ERRORS, redirect_slashes=False,
    )  # fmt: skip
    app.state.backend, app.state.metrics = backend, metrics
    app.add_middleware(Edge, metrics=cast(Metrics, metrics), access=gate)
    if gate.origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=sorted(gate.origins), allow_methods=["GET", "HEAD", "POST", "PUT", "DELETE"],
            allow_headers=["*"], expose_headers=list(_EXPOSED), max_age=3600,
        )  # fmt: skip
    for room in _ROOMS:
        app.include_router(room.router)
    with_bodies(app)
    return app


def _handlers() -> dict[int | type[Exception], Any]:
    """Those of every service, and what only the gateway has to say."""
    return {**HANDLERS, HTTPException: _not_here, QueueFull: _full}


async def _not_here(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code == 404:
        missing = NotFound(f"there is nothing at {request.url.path[:80]}: see /docs or GET /openapi.json")
        return Refusal(missing, request)
    if isinstance(error, HTTPException) and error.status_code == 405:
        allowed = ", ".join(_methods(request))
        wrong = MethodNotAllowed(f"{request.url.path[:80]} does not take {request.method[:20]}: use {allowed}")
        return Refusal(wrong, request, {"allow": allowed})
    answer: Response = await from_http(request, error)
    return answer


def _methods(request: Request) -> list[str]:
    """All that the address takes; Starlette names those of its first route only."""
    found: set[str] = set()
    for route in (route for room in _ROOMS for route in room.router.routes):
        if route.matches(request.scope)[0] is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    return sorted(found | ({"HEAD"} if "GET" in found else set()))


async def _full(request: Request, error: Exception) -> Response:
    assert isinstance(error, QueueFull)
    return Refusal(error, request, {"x-queue-position": str(error.position)})
