"""The events of a job as a stream that a browser's EventSource can take up again where it broke off."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tonewheel.errors import Conflict, DeadlineExceeded, InvalidRequest, NotFound, NotReady, TonewheelError, Unavailable
from tonewheel.gateway.backend import Backend
from tonewheel.jobs import Job, JobError, JobEvent
from tonewheel.serving.events import HEARTBEAT_S

_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
_RETRY_MS = 1000


class EventsView(BaseModel):
    """What has happened to a job so far, in order."""

    events: tuple[dict[str, Any], ...] = Field(description="Each with its number `id`, and what its `data` line has.")


async def event_stream(backend: Backend, job_id: str, after: int, *, head: bool = False) -> Response:
    """Events from after event `after` until the job has ended; 204 (which tells an EventSource to stay away)
    when it has and there is nothing more; `head` = only what would be said before the first. Raises NotFound."""
    job = await asyncio.to_thread(backend.store.get, job_id)
    if job.ended and not await asyncio.to_thread(backend.store.events_after, job_id, after):
        return Response(status_code=204)
    if head:
        said = Response(media_type="text/event-stream", headers=_HEADERS)
        del said.headers["content-length"]  # GET would say none either
        return said
    return StreamingResponse(_frames(backend, job_id, after), media_type="text/event-stream", headers=_HEADERS)


async def _frames(backend: Backend, job_id: str, after: int) -> AsyncIterator[bytes]:
    yield f"retry: {_RETRY_MS}\n\n".encode()
    # It was forgotten meanwhile, or the database went away: the client comes again and is told, or gets the rest.
    with suppress(NotFound, Unavailable):
        while not backend.stopping.is_set():  # when the server ends, the client comes again and gets the rest
            async for event in backend.feed.follow(job_id, after=after, idle_s=HEARTBEAT_S):
                if event is None:
                    yield b": still here\n\n"
                    continue
                yield frame(event)
                after = event.id
                if event.last:
                    return
            if not await asyncio.to_thread(backend.store.events_after, job_id, after):
                return


def frame(event: JobEvent) -> bytes:
    """`id`, `event` and one line of `data`."""
    text = json.dumps(_data(event), separators=(",", ":"))  # ASCII: some clients break lines at U+2028, too
    return f"id: {event.id}\nevent: {event.type}\ndata: {text}\n\n".encode()


def _data(event: JobEvent) -> dict[str, Any]:
    return {"job_id": event.job_id, "type": event.type, "at": event.at, **event.data}


def events_so_far(backend: Backend, job_id: str, after: int) -> EventsView:
    """What has happened since event `after`; blocking. Raises NotFound."""
    return EventsView(events=tuple({"id": e.id, **_data(e)} for e in backend.store.events(job_id, after=after)))


def last_event_id(request: Request, after: int | None) -> int:
    """Where to go on: `Last-Event-ID`, or the query's `after`. Raises InvalidRequest."""
    given = request.headers.get("last-event-id", "").strip()
    if not given:
        return after or 0
    if not given.isdecimal() or len(given) > 9 or not given.isascii():
        raise InvalidRequest("Last-Event-ID is not one we gave: it is the number of an event", param="Last-Event-ID")
    return int(given)


# ── waiting ─────────────────────────────────────────────────────────────────────────────────────


class JobFailed(TonewheelError):
    """The end of a job that somebody waits for, as the error it ended with."""

    def __init__(self, error: JobError) -> None:
        super().__init__(error.message, param=error.param)
        self.type = error.type
        self.http_status = error.http_status if error.http_status >= 400 else 500
        self.retryable = error.retryable


async def ended(backend: Backend, job_id: str, timeout_s: float) -> Job:
    """The job when it is done. Raises what it failed with, Conflict when it was cancelled, DeadlineExceeded after
    `timeout_s`, NotReady when the server ends."""
    try:
        async with asyncio.timeout(timeout_s):
            async for event in backend.feed.follow(job_id):
                if event is not None and event.last:
                    break
    except TimeoutError:
        raise DeadlineExceeded(f"the song was not done in {timeout_s:.0f} s: order it with POST /v1/songs") from None
    job = await asyncio.to_thread(backend.store.get, job_id)
    if not job.ended:
        raise NotReady(f"the server is stopping; the job goes on: GET /v1/jobs/{job_id}")
    return _done(job)


def _done(job: Job) -> Job:
    if job.state == "done":
        return job
    if job.error is not None:
        raise JobFailed(job.error)
    raise Conflict("the job was cancelled by somebody else", param="id")
