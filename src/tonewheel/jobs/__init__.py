"""Durable work: what was accepted is done, once, whatever is killed meanwhile.

**The client side** never executes anything; a gateway or a command uses it:

    store, library = open_jobs(settings())
    job = store.submit(SongRequest(narrative="…", duration_s=60), idempotency_key="k")   commits, then returns
    job = store.get(job.id)                  state, stage, fraction, position, eta_s, song_id, error
    page = store.find(state="queued")
    job = store.cancel(job.id)
    events = store.events(job.id, after=7)   append-only, numbered from 1 without gaps, for `Last-Event-ID`
    for event in store.watch(job.id): …      the same, as they come, until the job has ended

**The worker side** is one process (`tonewheel worker`):

    Worker(WorkerSettings.of(settings())).run()

A job's way: `workflow.py` runs it, `making.py` makes a song in the steps plan → render → check → analyse →
finish → store.
DBOS Transact keeps each finished step, hands jobs to workers and fences stale ones; `beats.py` notices
workers that died and moves their jobs on. What a user sees of a job is our own table (`tables.py`),
changed only by compare-and-set in one transaction with its event (`records.py`), so that a job has one
end and the events tell the same story as the state.

Rendering is behind one protocol, `Renderer` (`rendering.py`), and done by the fleet's models, each in a process
of its own (`fleet_renderer.py`). Planning, checks and encoding are done in helper processes (`children.py`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tonewheel.jobs.opening import open_jobs
    from tonewheel.jobs.rendering import Planner, RenderedSong, Renderer, RenderRequest
    from tonewheel.jobs.request import SongRequest, song_request
    from tonewheel.jobs.store import JobStore
    from tonewheel.jobs.types import Job, JobError, JobEvent, JobPage, JobState
    from tonewheel.jobs.worker import Worker, WorkerSettings

_HOMES = {
    "Job": "types",
    "JobError": "types",
    "JobEvent": "types",
    "JobPage": "types",
    "JobState": "types",
    "JobStore": "store",
    "Planner": "rendering",
    "RenderRequest": "rendering",
    "RenderedSong": "rendering",
    "Renderer": "rendering",
    "SongRequest": "request",
    "open_jobs": "opening",
    "Worker": "worker",
    "WorkerSettings": "worker",
    "song_request": "request",
}

__all__ = [
    "Job",
    "JobError",
    "JobEvent",
    "JobPage",
    "JobState",
    "JobStore",
    "Planner",
    "RenderRequest",
    "RenderedSong",
    "Renderer",
    "SongRequest",
    "Worker",
    "WorkerSettings",
    "open_jobs",
    "song_request",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
