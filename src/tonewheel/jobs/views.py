"""A row of the job table as a user sees it: with its place in the queue and the time it will take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tonewheel.jobs.estimate import Rate, finish_times, left_of_running, read_rates, slots_of
from tonewheel.jobs.tables import jobs, workers
from tonewheel.jobs.types import Job, JobError
from tonewheel.library.database import Database

_ALIVE_S = 60.0  # for estimates: who was heard of in the last minute works
_HIDDEN = frozenset(
    ("seq", "request_hash", "run", "duration_s", "told_at", "last_event", "now")
)  # fmt: skip


def read_jobs(c: sa.Connection, database: Database, where: list[sa.ColumnElement[bool]], *, limit: int) -> list[Job]:
    """The jobs of `where`, newest first."""
    query = sa.select(jobs, database.now.label("now")).where(*where).order_by(jobs.c.seq.desc()).limit(limit)
    rows = c.execute(query).mappings().all()
    lanes: dict[str, _Lane] = {}
    needed = {r["model"] for r in rows if r["state"] in ("queued", "running")}
    if needed:
        rates = read_rates(c)
        alive = list(c.scalars(sa.select(workers.c.slots).where(workers.c.beat_at > database.now - _ALIVE_S)))
        lanes = {m: _lane(c, database, m, rates.get(m, Rate()), slots_of(alive, m)) for m in needed}
    return [_job(r, lanes.get(r["model"])) for r in rows]


@dataclass(frozen=True, slots=True)
class _Lane:
    """The queue of one model: place and seconds left, by job."""

    places: dict[str, int]
    left: dict[str, float]


def _lane(c: sa.Connection, database: Database, model: str, rate: Rate, slots: int) -> _Lane:
    columns = [jobs.c.id, jobs.c.state, jobs.c.duration_s, jobs.c.started_at, jobs.c.eta_s, jobs.c.told_at]
    rows = c.execute(
        sa.select(*columns, database.now.label("now"))
        .where(jobs.c.model == model, jobs.c.state.in_(("queued", "running")))
        .order_by(jobs.c.priority, jobs.c.seq)
    ).all()
    running = {
        r.id: left_of_running(
            rate, r.duration_s, r.now - r.started_at, None if r.eta_s is None else (r.eta_s, r.now - r.told_at)
        )
        for r in rows
        if r.state == "running"
    }
    queued = [r for r in rows if r.state == "queued"]
    # What was reckoned when it was ordered (`eta_s` of a job that has not begun), else by what others took.
    takes = [rate.seconds(r.duration_s) if r.eta_s is None else r.eta_s + rate.overhead_s for r in queued]
    ends = finish_times(slots, list(running.values()), takes)
    return _Lane(
        {r.id: place for place, r in enumerate(queued, 1)},
        running | {r.id: end for r, end in zip(queued, ends, strict=True)},
    )


def _job(row: Any, lane: _Lane | None) -> Job:
    fields = {k: v for k, v in row.items() if k not in _HIDDEN}
    fields["error"] = JobError(**row["error"]) if row["error"] else None
    left = lane.left.get(row["id"]) if lane else None
    fields["eta_s"] = None if left is None else round(left, 1)
    fields["position"] = lane.places.get(row["id"]) if lane else None
    return Job(**fields)
