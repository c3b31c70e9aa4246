"""Is it alive, is it ready, what does it do: for people, balancers and Prometheus. No key is needed for health."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from tonewheel import __version__
from tonewheel.errors import Unavailable
from tonewheel.gateway import document as doc
from tonewheel.gateway.auth import needs
from tonewheel.gateway.metrics import gather
from tonewheel.gateway.reference import page
from tonewheel.gateway.routes import backend_of, caller_of
from tonewheel.serving.faults import told
from tonewheel.serving.metrics import CONTENT_TYPE

router = APIRouter(tags=["health"])
_started = time.time()
_READY_S = 3.0
_PAGE = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
    "x-content-type-options": "nosniff",
}


@router.get("/livez", summary="Alive", responses=doc.answers(200, None, "Yes", {"status": "ok"}))
async def livez() -> dict[str, Any]:
    """Answers as long as the event loop does; asks nothing."""
    return {"status": "ok"}


@router.get(
    "/health", summary="Alive, and what it is",
    responses=doc.answers(200, None, "Yes", {"status": "ok", "service": "gateway", "version": __version__}),
)  # fmt: skip
async def health() -> dict[str, Any]:
    """Like the health of every service; asks nothing."""
    return {
        "status": "ok", "service": "gateway", "version": __version__, "uptime_s": round(time.time() - _started, 1),
    }  # fmt: skip


@router.get(
    "/readyz", summary="Whether songs can be made", response_class=Response,
    responses=doc.answers(200, None, "Orders are taken and worked on", {"status": "ready", "workers": 1, "queued": 0}),
)  # fmt: skip
async def readyz(request: Request) -> Response:
    """200 when the database answers and a worker lives; 503 says which does not."""
    store = backend_of(request).store
    try:
        async with asyncio.timeout(_READY_S):
            workers = await asyncio.to_thread(store.workers)
            lanes = await asyncio.to_thread(store.lanes)
        alive = sum(w.alive for w in workers)
        if not alive:
            raise Unavailable(
                "no worker is alive: jobs are taken and wait; `tonewheel serve` starts one", param="worker"
            )
    except (Unavailable, TimeoutError) as e:
        error = e if isinstance(e, Unavailable) else Unavailable("the database does not answer", param="database")
        status, body, headers = told(error, caller_of(request).request_id)
        return JSONResponse({"status": "not ready", **body}, status, headers)
    counts = {"queued": sum(lane.queued for lane in lanes), "running": sum(lane.running for lane in lanes)}
    return JSONResponse({"status": "ready", "service": "gateway", "workers": alive, **counts})


@router.get("/docs", summary="This document, for people", include_in_schema=False, response_class=Response)
async def docs(request: Request) -> Response:
    """A plain page without scripts."""
    text = await asyncio.to_thread(lambda: page(request.app.openapi()))
    return Response(text, headers=_PAGE, media_type="text/html")


@router.get(
    "/metrics", summary="Prometheus", dependencies=[needs("read")], response_class=Response,
    responses=doc.text(200, "text/plain", "Metrics", 'tonewheel_queue_depth{model="composer"} 0.0\n'),
)  # fmt: skip
async def prometheus(request: Request) -> Response:
    """Requests of this gateway, and the queue, the workers and the speed of models as the database knows them."""
    backend, metrics = backend_of(request), request.app.state.metrics
    text = await asyncio.to_thread(gather, backend, metrics)
    return Response(text, headers={"content-type": CONTENT_TYPE})
