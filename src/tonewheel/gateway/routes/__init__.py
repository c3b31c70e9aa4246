"""The addresses of the server, one file a subject, and what they share. Each binds `router`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from starlette.requests import Request

from tonewheel.errors import NotFound
from tonewheel.gateway.backend import Backend
from tonewheel.gateway.listening import Ears
from tonewheel.gateway.views import job_url
from tonewheel.library import Song
from tonewheel.library.ids import is_id
from tonewheel.serving.edge import CALLER
from tonewheel.serving.presence import while_here
from tonewheel.serving.work import Caller

T = TypeVar("T")


def backend_of(request: Request) -> Backend:
    found: Backend = request.app.state.backend
    return found


def caller_of(request: Request) -> Caller:
    """The ids of this request."""
    found: Caller = request.scope[CALLER]
    return found


def song_of(backend: Backend, song_id: str) -> Song:
    """A song by its id, or by the name it was ordered under. Raises NotFound."""
    if is_id("song", song_id):
        return backend.library.get(song_id)
    job_id = backend.names.get(song_id).job_id
    if job_id is None:
        raise NotFound(f"there is no song {song_id[:40]!r}", param="id")
    song = backend.library.of_job(job_id)
    if song is None:
        raise NotFound(f"the song {song_id[:40]!r} is not there: see its job at {job_url(job_id)}", param="id")
    return song


async def while_wanted(request: Request, work: Callable[[Callable[[], bool]], T]) -> T:
    """`work(gone)` in a thread; `gone()` says when nobody waits for it any more."""
    left, stopping = threading.Event(), backend_of(request).stopping
    try:
        doing = asyncio.to_thread(work, lambda: left.is_set() or stopping.is_set())
        return await while_here(request.receive, doing)
    finally:
        left.set()


def ears_of(request: Request) -> Ears:
    """What listens for this server; made when it is first asked."""
    state = request.app.state
    if not hasattr(state, "ears"):
        backend = backend_of(request)
        state.ears = Ears(backend.models, backend.library)
    found: Ears = state.ears
    return found
