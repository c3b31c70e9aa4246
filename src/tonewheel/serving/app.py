"""The FastAPI application of one model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.responses import PlainTextResponse

from tonewheel import __version__
from tonewheel.errors import (
    NotReady,
    ServiceBusy,
)
from tonewheel.models.base import Estimate, Family, FileRoute, InfoRoute, ModelRequest, WorkRoute
from tonewheel.models.clock import ensure_in_time, estimate
from tonewheel.serving.accept import names_audio, wanted_audio, wanted_bits
from tonewheel.serving.answer import JSONWithFiles, audio_response
from tonewheel.serving.body import parse_body, read_body
from tonewheel.serving.describe import describe
from tonewheel.serving.edge import CALLER, Access, Edge
from tonewheel.serving.events import EventStream
from tonewheel.serving.faults import detail, told
from tonewheel.serving.host import Host
from tonewheel.serving.live import LiveWav, wants_live
from tonewheel.serving.metrics import CONTENT_TYPE, Metrics
from tonewheel.serving.openapi import ERRORS, documented, with_requests
from tonewheel.serving.presence import client_left
from tonewheel.serving.ranges import Stored, file_response, stored
from tonewheel.serving.refusals import GONE, HANDLERS
from tonewheel.serving.spool import Spool
from tonewheel.serving.work import Caller, Order, Work, deadline_seconds


def create_app(host: Host, *, access: Access | None = None, least_deadline_s: float = 120.0) -> FastAPI:
    """The service of `host`'s model. The model loads while the application is already listening.

    `access` says who may ask (default: loopback names only, no key); `least_deadline_s` is the configured deadline.
    """
    metrics, spool = Metrics(host), Spool()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(host.load())
        yield
        loading.cancel()

    app = FastAPI(
        title=f"Tonewheel {host.family.service}", version=__version__, lifespan=lifespan, docs_url=None,
        redoc_url=None, exception_handlers=HANDLERS, responses=ERRORS, redirect_slashes=False,
    )  # fmt: skip
    app.state.spool = spool
    app.add_middleware(Edge, metrics=metrics, access=access or Access())
    _add_health(app, host, metrics)
    _add_work(app, _Desk(host, metrics, spool, least_deadline_s))
    _add_files(app, spool)
    _add_kept_files(app, host.family)
    _add_info(app, host)
    with_requests(app, host.family)
    return app


# ── work ────────────────────────────────────────────────────────────────────────────────────────


class _Desk:
    """Takes requests in, has them done, and words the answers."""

    def __init__(self, host: Host, metrics: Metrics, spool: Spool, least_deadline_s: float) -> None:
        self._host, self._metrics, self._spool = host, metrics, spool
        self._least_deadline_s = least_deadline_s

    @property
    def family(self) -> Family:
        return self._host.family

    async def answer(self, request: Request, route: WorkRoute) -> Response:
        """JSON, or the audio's bytes when `Accept` prefers them."""
        wanted = wanted_audio(request.headers.get("accept")) if self._makes_audio else None
        work = await self._take(request, route, wanted, streamed=False)
        answer = await work.answer(gone=client_left(request.receive))
        if answer is None:
            return Response(status_code=GONE)
        if wanted is not None and answer.audio is not None:
            return audio_response(answer)
        return await asyncio.to_thread(JSONWithFiles, answer.body)

    async def stream(self, request: Request, route: WorkRoute) -> Response:
        """Server-sent events, with links to files when `Accept` names an audio type; a WAV as it is made when it is
        all that `Accept` names."""
        wanted = names_audio(request.headers.get("accept")) if self._makes_audio else None
        work = await self._take(request, route, wanted, streamed=True)
        if wanted is not None and wants_live(request.headers.get("accept")):
            return LiveWav(work, request.scope[CALLER])
        return EventStream(work, request.scope[CALLER], self._spool if wanted else None)

    async def _take(self, request: Request, route: WorkRoute, wanted: Any, *, streamed: bool) -> Work:
        """Read, check and start. Everything that can be refused is refused here, before anything is answered."""
        caller: Caller = request.scope[CALLER]
        try:
            self._host.ensure_room()  # before the body: a busy service must not fill its memory with bodies
            data = await read_body(request, self.family.max_body_bytes)
            job_id = request.query_params.get("client_job_id")
            body = await parse_body(route.request, data, request.headers.get("content-type", ""), job_id)
            model = self._host.model
            checked = await asyncio.to_thread(lambda: model.validate(route.to_request(body)))
            expected = await asyncio.to_thread(lambda: self._expected(checked))
            bits = wanted_bits(request.headers.get("accept"))
            order = Order(checked, body, route, wanted, bits, expected, streamed)
            return Work(self._host, self._metrics, order, caller, self._least_deadline_s)
        except ServiceBusy as error:
            self._metrics.refused(self._host.card.id, error)
            raise

    def _expected(self, request: ModelRequest) -> Estimate | None:
        """What it will take. Raises TooSlow."""
        card = self._host.card
        expected = estimate(self.family, card, request)
        limit_s = deadline_seconds(request, self._least_deadline_s, card.deadline_s)
        ensure_in_time(card, request, expected, limit_s)
        return expected

    @property
    def _makes_audio(self) -> bool:
        return self._host.card.sample_rate is not None and "audio_base64" in self.family.response.model_fields


def _add_work(app: FastAPI, desk: _Desk) -> None:
    family = desk.family
    own = WorkRoute("/predict", f"Run {family.title}", family.request, family.response)
    for route in (own, *(r for r in family.routes if isinstance(r, WorkRoute))):
        _add_work_route(app, desk, route)

    async def stream(request: Request) -> Response:
        return await desk.stream(request, own)

    extra = documented(family.request)
    responses: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}, "description": "Events"}}
    app.post("/predict/stream", summary="Run it, told as server-sent events", openapi_extra=extra,
             responses=responses, response_class=Response)(stream)  # fmt: skip


def _add_work_route(app: FastAPI, desk: _Desk, route: WorkRoute) -> None:
    async def answer(request: Request) -> Response:
        return await desk.answer(request, route)

    app.post(route.path, summary=route.summary, responses={200: {"model": route.response}},
             openapi_extra=documented(route.request), response_model=None)(answer)  # fmt: skip


# ── files, description, health ──────────────────────────────────────────────────────────────────


def _add_files(app: FastAPI, spool: Spool) -> None:
    @app.get("/v1/files/{file_id}", summary="A file a stream linked to", response_class=Response)
    async def fetch(request: Request, file_id: str) -> Response:
        kept = spool.get(file_id)
        stored = Stored(
            kept.file_name, kept.media_type, kept.size_bytes, kept.sha256, "private", lambda: spool.open(kept)
        )
        return await file_response(stored, request)

    @app.delete("/v1/files/{file_id}", status_code=204, summary="Let go of it earlier", response_class=Response)
    async def drop(file_id: str) -> Response:
        spool.drop(file_id)
        return Response(status_code=204)


def _add_kept_files(app: FastAPI, family: Family) -> None:
    for route in family.routes:
        if isinstance(route, FileRoute):
            _add_file_route(app, route)


def _add_file_route(app: FastAPI, route: FileRoute) -> None:
    async def send(request: Request, name: str) -> Response:
        return await file_response(await asyncio.to_thread(lambda: stored(route.find(name))), request)

    app.get(route.path, summary=route.summary, response_class=Response)(send)


def _add_info(app: FastAPI, host: Host) -> None:
    description = describe(host.family, host.card)

    @app.get("/v1/metadata", summary="Endpoints, capabilities, options")
    async def metadata() -> dict[str, Any]:
        return description

    for route in host.family.routes:
        if isinstance(route, InfoRoute):
            _add_info_route(app, host, route)


def _add_info_route(app: FastAPI, host: Host, route: InfoRoute) -> None:
    async def info() -> dict[str, Any]:
        return await asyncio.to_thread(route.answer, host.model)

    app.get(route.path, summary=route.summary)(info)


def _add_health(app: FastAPI, host: Host, metrics: Metrics) -> None:
    started = time.time()

    @app.get("/health", summary="Whether the process answers, also while the model computes")
    async def health() -> dict[str, Any]:
        return {
            "status": "ok", "service": host.family.service, "version": __version__, "model": host.card.id,
            "state": host.state, "busy": host.busy, "slots": host.slots, "uptime_s": round(time.time() - started, 1),
        }  # fmt: skip

    @app.get("/healthz", summary="Alive")
    async def healthz() -> dict[str, Any]:
        return {"status": "ok"}

    @app.get("/readyz", summary="Whether the model takes requests")
    async def readyz(request: Request) -> Response:
        try:
            model = host.model
        except NotReady as error:
            request_id = request.scope[CALLER].request_id
            status, body, headers = told(error, request_id)
            if host.fault is not None and host.state == "failed":  # the fleet raises what loading raised
                body = {"detail": detail(host.fault, request_id, host.fault_id)}
            progress = host.load_progress if host.state == "loading" else None
            extra = {"stage": progress.stage, "fraction": progress.fraction} if progress else None
            return JSONWithFiles({"status": host.state, "progress": extra, **body}, status, headers)
        return JSONWithFiles(
            {
                "status": "ready", "service": host.family.service, "model": host.card.id, "device": model.device,
                "dtype": model.dtype, "busy": host.busy, "slots": host.slots,
            }
        )  # fmt: skip

    @app.get("/metrics", summary="Prometheus", response_class=PlainTextResponse)
    async def prometheus() -> Response:
        return Response(metrics.text(), headers={"content-type": CONTENT_TYPE})
