"""Jobs: how they go, and calling them off."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from tonewheel.gateway import document as doc
from tonewheel.gateway.auth import needs
from tonewheel.gateway.events import EventsView, event_stream, events_so_far, last_event_id
from tonewheel.gateway.routes import backend_of
from tonewheel.gateway.views import JobPageView, JobView, job_view
from tonewheel.jobs.types import JobState
from tonewheel.serving.accept import prefers_json
from tonewheel.serving.edge import asked_method

router = APIRouter(tags=["jobs"])

JobId = Annotated[str, Path(description="The id of a job.", examples=[doc.JOB_ID])]
_EVENTS = (
    'id: 1\nevent: queued\ndata: {"job_id":"job_4Xo0…","type":"queued","at":1795250000.0}\n\n'
    'id: 4\nevent: progress\ndata: {"job_id":"job_4Xo0…","type":"progress","stage":"render","fraction":0.42}\n\n'
)
_SO_FAR = {"events": [{"id": 1, "job_id": doc.JOB_ID, "type": "queued", "at": 1795250000.0}]}
_FOLLOWED = doc.answers(200, EventsView, "Until the job has ended; as JSON, those so far", _SO_FAR)
_FOLLOWED[200]["content"] |= {"text/event-stream": {"example": _EVENTS}}


@router.get(
    "/v1/jobs", summary="List jobs", dependencies=[needs("read")], response_class=Response,
    responses=doc.answers(200, JobPageView, "Newest first", {"jobs": [doc.JOB], "next": None}),
)  # fmt: skip
async def listing(
    request: Request,
    state: Annotated[JobState | None, Query()] = None,
    model: Annotated[str | None, Query(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")] = None,
    after: Annotated[
        str | None, Query(pattern=r"^job_[0-9A-Za-z]{22}$", description="`next` of the page before.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """All jobs, by state or model, a page at a time."""
    store = backend_of(request).store
    page = await asyncio.to_thread(lambda: store.find(state=state, model=model, after=after, limit=limit))
    return doc.json_answer(JobPageView(jobs=tuple(job_view(j) for j in page.jobs), next=page.next))


@router.get(
    "/v1/jobs/{job_id}", summary="A job", dependencies=[needs("read")], response_class=Response,
    responses=doc.answers(200, JobView, "How far it is, its place in the queue, what came of it", doc.JOB),
)  # fmt: skip
async def show(request: Request, job_id: JobId) -> Response:
    """Stage, fraction, place in the queue and seconds left; `song_url` once it is done, `error` if it failed."""
    return doc.json_answer(job_view(await asyncio.to_thread(backend_of(request).store.get, job_id)))


@router.delete(
    "/v1/jobs/{job_id}", summary="Cancel a job", dependencies=[needs("generate")], response_class=Response,
    responses=doc.answers(200, JobView, "As it stands now", {**doc.JOB, "state": "cancelled"}),
)  # fmt: skip
async def cancel(request: Request, job_id: JobId) -> Response:
    """A queued one never starts, a running one stops at its model's next step, one that has ended stays as it is."""
    return doc.json_answer(job_view(await asyncio.to_thread(backend_of(request).store.cancel, job_id)))


@router.get(
    "/v1/jobs/{job_id}/events", summary="Follow a job (server-sent events)", dependencies=[needs("read")],
    response_class=Response,
    responses=_FOLLOWED
    | {204: {"description": "It has ended and there is nothing more: an EventSource stays away"}},
    openapi_extra={"parameters": [doc.header("Last-Event-ID", "Go on after this event.")]},
)  # fmt: skip
async def follow(
    request: Request,
    job_id: JobId,
    after: Annotated[int | None, Query(ge=0, le=10**9, description="Like Last-Event-ID, which goes first.")] = None,
) -> Response:
    """Numbered from 1 without gaps, so that a connection that broke is taken up where it was (`Last-Event-ID`).
    With `Accept: application/json` those so far as a list, without waiting for more."""
    backend, last = backend_of(request), last_event_id(request, after)
    if prefers_json(request.headers.get("accept")):
        return doc.json_answer(await asyncio.to_thread(events_so_far, backend, job_id, last))
    return await event_stream(backend, job_id, last, head=asked_method(request.scope) == "HEAD")
