"""Addresses that clients of existing servers know: heartmula's generations, jen1's planner, the orchestrator's jobs."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Annotated, Any

import httpx
from fastapi import APIRouter, Path, Request
from starlette.responses import JSONResponse, Response

from tonewheel.errors import NotFound, Unavailable
from tonewheel.gateway import document as doc
from tonewheel.gateway.artifacts import artifact_response
from tonewheel.gateway.auth import needs, principal
from tonewheel.gateway.bodies import body_of
from tonewheel.gateway.contracts import Composed, ComposeRequest, JobCreated, MusicGenerated, MusicGeneration
from tonewheel.gateway.events import ended
from tonewheel.gateway.orders import Desk, SongOrder, idempotency_key
from tonewheel.gateway.routes import backend_of, caller_of
from tonewheel.jobs import Job
from tonewheel.library import Song
from tonewheel.models.base import RunContext
from tonewheel.models.jen1.contract import Jen1Request, Jen1Response
from tonewheel.serving.presence import while_here
from tonewheel.settings import service_key, service_url, settings

router = APIRouter(tags=["contracts"])

_NARRATIVE = {"narrative": doc.NARRATIVE, "duration": 30, "options": {"style": "folk"}}
_COMPOSED = {
    "jobId": doc.JOB_ID, "status": "completed", "progress": 1.0, "stage": "store", "eta_s": None, "error": None,
    "song": {"title": "Every Night the Lamp"}, "audio_url": f"/v1/artifacts/{doc.ARTIFACT_ID}",
    "song_url": f"/v1/songs/{doc.SONG_ID}", "duration": 30.0, "seed": 7, "url": f"/v1/jobs/{doc.JOB_ID}",
}  # fmt: skip
_KEY = {"parameters": [doc.IDEMPOTENCY_KEY]}


@router.post(
    "/v1/music/generations", summary="Make music and wait for it (heartmula's contract)", response_class=Response,
    dependencies=[needs("generate")],
    responses=doc.answers(200, MusicGenerated, "It is made", {
        "id": doc.SONG_ID, "status": "completed", "audio_url": f"/audio/{doc.ARTIFACT_ID}.wav", "duration": 30.0,
        "prompt": "warm synthwave", "seed": 7, "model": "composer", "song_url": f"/v1/songs/{doc.SONG_ID}",
    }),
    openapi_extra=doc.takes(MusicGeneration, A_style={"prompt": "warm synthwave", "duration": 30}) | _KEY,
)  # fmt: skip
async def generations(request: Request) -> Response:
    """Through the queue, as a job; waits max(HEARTMULA_TIMEOUT_SEC, 5 × duration + 30) s."""
    key = idempotency_key(request.headers)
    asked = await body_of(request, MusicGeneration, strict=False)
    timeout_s = max(settings().heartmula_timeout_sec, 5 * asked.duration + 30)
    _, song = await _made(request, await asyncio.to_thread(asked.order), key, timeout_s)
    return doc.json_answer(MusicGenerated.of(song, asked))


@router.get("/audio/{file}", summary="The audio of a generation", dependencies=[needs("read")], response_class=Response,
            responses={200: {"description": "The file", "content": {"audio/wav": {}}}, 206: {"description": "A range"}},
            openapi_extra={"parameters": [doc.header("Range", "One range of bytes.")]})  # fmt: skip
async def audio(
    request: Request, file: Annotated[str, Path(description="As told.", examples=[f"{doc.ARTIFACT_ID}.wav"])]
) -> Response:
    """With Range, as `/v1/artifacts/{id}`."""
    return await artifact_response(backend_of(request).library, file.partition(".")[0], request, only="audio/")


@router.post(
    "/generate", summary="Plan a song (jen1's contract)", dependencies=[needs("generate")], response_class=Response,
    responses=doc.answers(200, Jen1Response, "A GeneratedSong", _COMPOSED["song"]),
    openapi_extra=doc.takes(Jen1Request, A_narrative=_NARRATIVE),
)  # fmt: skip
async def generate(request: Request) -> Response:
    """At once, without a job. With JEN1_URL that planner is asked."""
    asked = await body_of(request, Jen1Request, strict=False)
    url = service_url("jen1")
    if url is not None:
        return await _elsewhere(request, url, asked)
    return JSONResponse(await asyncio.to_thread(_planned, request, asked))


@router.post(
    "/jobs", status_code=202, summary="Order a song (the orchestrator's contract)", dependencies=[needs("generate")],
    responses=doc.answers(202, JobCreated, "Accepted", {"jobId": doc.JOB_ID}), response_class=Response,
    openapi_extra=doc.takes(ComposeRequest, A_narrative=_NARRATIVE) | _KEY,
)  # fmt: skip
async def create_job(request: Request) -> Response:
    """The same as POST /v1/songs, in the orchestrator's words; GET /jobs/{jobId} tells how it goes."""
    key = idempotency_key(request.headers)
    asked = await body_of(request, ComposeRequest, strict=False)
    job = await _ordered(request, await asyncio.to_thread(asked.order), key)
    return doc.json_answer(JobCreated(jobId=job.id), 202, {"location": f"/jobs/{job.id}"})


@router.get(
    "/jobs/{job_id}", summary="A song on its way (the orchestrator's contract)", dependencies=[needs("read")],
    responses=doc.answers(200, Composed, "How it goes, and the song", _COMPOSED), response_class=Response,
)  # fmt: skip
async def show_job(
    request: Request, job_id: Annotated[str, Path(description="`jobId` of POST /jobs.", examples=[doc.JOB_ID])]
) -> Response:
    """Its state, and once it is completed the GeneratedSong and where its audio is."""
    backend = backend_of(request)

    def look() -> Composed:
        job = backend.store.get(job_id)
        song = None
        if job.song_id is not None:
            with suppress(NotFound):  # deleted since
                song = backend.library.get(job.song_id)
        return Composed.of(job, song)

    return doc.json_answer(await asyncio.to_thread(look))


@router.post(
    "/compose", summary="Order a song and wait for it (the orchestrator's contract)", response_class=Response,
    dependencies=[needs("generate")], responses=doc.answers(200, Composed, "It is made", _COMPOSED),
    openapi_extra=doc.takes(ComposeRequest, A_narrative=_NARRATIVE) | _KEY,
)  # fmt: skip
async def compose(request: Request) -> Response:
    """Like POST /jobs, answered when the song is there."""
    key = idempotency_key(request.headers)
    asked = await body_of(request, ComposeRequest, strict=False)
    timeout_s = max(settings().deadline_s, 5 * asked.duration + 30)
    made = await _made(request, await asyncio.to_thread(asked.order), key, timeout_s)
    return doc.json_answer(Composed.of(*made))


# ── ordering and waiting ────────────────────────────────────────────────────────────────────────


async def _ordered(request: Request, order: SongOrder, key: str | None) -> Job:
    desk = Desk(backend_of(request))
    made = await asyncio.to_thread(desk.order, order, caller_of(request), principal(request), key)
    return made[0]


async def _made(request: Request, order: SongOrder, key: str | None, timeout_s: float) -> tuple[Job, Song]:
    """The job and its song when it is done. Raises ClientDisconnect when nobody waits for it any more.

    Nobody knows the job's id when nobody waits any more: then it is cancelled, unless a key finds it again.
    """
    backend = backend_of(request)
    job = await _ordered(request, order, key)
    try:
        job = await while_here(request.receive, ended(backend, job.id, timeout_s))
    except BaseException:
        if key is None and not backend.stopping.is_set():
            await asyncio.shield(asyncio.to_thread(Desk(backend).cancel, [job.id]))
        raise
    assert job.song_id is not None
    return job, await asyncio.to_thread(backend.library.get, job.song_id)


# ── the planner ─────────────────────────────────────────────────────────────────────────────────


def _planned(request: Request, asked: Jen1Request) -> dict[str, Any]:
    from tonewheel.models.jen1.card import CARD  # noqa: PLC0415  (the planner loads with it)
    from tonewheel.models.jen1.model import Jen1  # noqa: PLC0415

    began = time.monotonic()
    caller = caller_of(request)
    result = Jen1(CARD).run(asked, RunContext(request_id=caller.request_id))
    metadata = {
        "client_job_id": asked.client_job_id, "trace_id": caller.trace.trace_id, "span_id": caller.trace.span_id,
        "request_id": caller.request_id, "model": CARD.id, "revision": CARD.revision, "seed": result.seed,
        "duration_s": result.duration_s, "elapsed_s": round(time.monotonic() - began, 4), "real_time_factor": None,
        "device": "cpu", "dtype": "float32",
    }  # fmt: skip
    return {**result.fields, "metadata": metadata}


async def _elsewhere(request: Request, url: str, asked: Jen1Request) -> Response:
    caller, key = caller_of(request), service_key("jen1")
    headers = {"x-request-id": caller.request_id, "traceparent": caller.trace.traceparent()}
    headers |= {"authorization": f"Bearer {key}"} if key else {}
    try:
        async with httpx.AsyncClient(base_url=url, timeout=settings().deadline_s) as client:
            answer = await client.post("/generate", content=asked.model_dump_json(exclude_none=True),
                                       headers={**headers, "content-type": "application/json"})  # fmt: skip
            answer.json()
    except httpx.HTTPError:
        raise Unavailable("the planner at JEN1_URL does not answer") from None
    except ValueError:
        raise Unavailable("what answers at JEN1_URL is no planner: its answer is no JSON") from None
    told = answer.text.replace(url, "/services/jen1")  # where it is, is nobody's business
    return Response(told, answer.status_code, media_type="application/json")
