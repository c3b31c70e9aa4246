"""Every change a job can go through, each one transaction with its event.

All are compare-and-set: a change that no longer fits (somebody cancelled, another worker took over)
changes nothing and says so. `run` is the token of one start of a job; only its holder may write.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tonewheel.jobs import totals
from tonewheel.jobs.tables import events, jobs
from tonewheel.jobs.types import EventType, JobError
from tonewheel.library.database import Database

_OPEN = ("queued", "running")


@dataclass(frozen=True, slots=True)
class Start:
    """What a start needs to know of its job."""

    job_id: str
    run: str
    kind: str
    model: str
    request: dict[str, Any]
    duration_s: float
    deadline_s: float
    attempts: int
    request_id: str | None
    traceparent: str | None


class Records:
    """The job table, as workers and the store change it."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def change(
        self, c: sa.Connection, where: list[sa.ColumnElement[bool]], event: EventType, data: dict[str, Any],
        **values: Any,
    ) -> list[str]:  # fmt: skip
        """Set `values` in the jobs of `where`, with one event each, and wake who waits; the ids that were changed."""
        query = (
            sa.update(jobs)
            .where(*where)
            .values(last_event=jobs.c.last_event + 1, **values)
            .returning(jobs.c.id, jobs.c.last_event)
        )
        changed = c.execute(query).all()
        for job_id, number in changed:
            c.execute(sa.insert(events).values(job_id=job_id, id=number, type=event, at=self.database.now, data=data))
        if changed:
            self.database.announce(c)
        return [job_id for job_id, _ in changed]

    def begin(self, job_id: str, run: str, worker: str, max_starts: int) -> Start | None:
        """Take a job to run it; None when there is nothing to run (it has ended, or starts too often)."""

        def work(c: sa.Connection) -> Start | None:
            row = c.execute(sa.select(jobs).where(jobs.c.id == job_id).with_for_update()).mappings().first()
            if row is None or row["state"] not in _OPEN:
                return None
            attempts = row["attempts"]
            if row["run"] != run:  # otherwise this transaction is repeated and was committed before
                if attempts >= max_starts:
                    self._set_aside(c, job_id, attempts)
                    return None
                attempts += 1
                self.change(
                    c, [jobs.c.id == job_id], "started", {"attempt": attempts, "worker": worker},
                    state="running", run=run, worker=worker, attempts=attempts, stage=None, eta_s=row["eta_s"],
                    started_at=sa.func.coalesce(jobs.c.started_at, self.database.now), told_at=self.database.now,
                )  # fmt: skip
                if row["started_at"] is None:
                    totals.started(c, self.database, job_id)
            return Start(
                job_id, run, row["kind"], row["model"], row["request"], row["duration_s"], row["deadline_s"],
                attempts, row["request_id"], row["traceparent"],
            )  # fmt: skip

        return self.database.write(work)

    def _set_aside(self, c: sa.Connection, job_id: str, attempts: int) -> None:
        error = JobError(
            type="poisoned",
            message=f"the job was set aside: it was started {attempts} times and its worker died each time",
        )
        self.end(c, [jobs.c.id == job_id], "poisoned", error)

    def end(
        self,
        c: sa.Connection,
        where: list[sa.ColumnElement[bool]],
        state: EventType,
        error: JobError | None = None,
        **values: Any,
    ) -> list[str]:
        """Bring open jobs to their end; the ids of those that were open."""
        told = error.model_dump(mode="json", exclude_none=True) if error else None
        data = {"error": told} if told else {k: v for k, v in values.items() if k == "song_id"}
        if state == "done":
            values |= {"fraction": 1.0}
        ended = self.change(
            c, [jobs.c.state.in_(_OPEN), *where], state, data,
            state=state, error=told, finished_at=self.database.now, eta_s=None, run=None, **values,
        )  # fmt: skip
        if ended:
            totals.ended(c, self.database, ended, state, error.type if error else None)
        return ended

    def progress(self, job_id: str, run: str, stage: str, fraction: float, eta_s: float | None) -> bool:
        """Note how far a job is; False when this start is no longer the one that counts."""
        data: dict[str, Any] = {"stage": stage, "fraction": round(fraction, 4)}
        if eta_s is not None:
            data["eta_s"] = round(eta_s, 1)

        def work(c: sa.Connection) -> bool:
            return bool(
                self.change(
                    c, _mine(job_id, run), "progress", data,
                    stage=stage, fraction=fraction, eta_s=eta_s, told_at=self.database.now,
                )
            )  # fmt: skip

        # Not worth waiting for: the next one comes in a second.
        return self.database.write(work, patience_s=0.0)

    def note(self, job_id: str, run: str, event: EventType, data: dict[str, Any]) -> bool:
        """An event that changes nothing else; False as for `progress`."""
        return bool(self.database.write(lambda c: self.change(c, _mine(job_id, run), event, data)))

    def holds(self, job_id: str, run: str) -> bool:
        """Whether this start still counts."""
        query = sa.select(jobs.c.id).where(*_mine(job_id, run))
        return self.database.read(lambda c: c.scalar(query), patience_s=0.0) is not None

    def fail(self, job_id: str, run: str, error: JobError) -> bool:
        """End a job with an error; False as for `progress`."""
        return bool(self.database.write(lambda c: self.end(c, _mine(job_id, run), "failed", error)))

    def requeue(self, c: sa.Connection, job_id: str, worker: str, why: str, *, counted: bool) -> bool:
        """Give back a job that `worker` runs or ran; with `counted` that start counts towards its limit."""
        attempts = jobs.c.attempts if counted else sa.case((jobs.c.attempts > 0, jobs.c.attempts - 1), else_=0)
        where = [jobs.c.id == job_id, jobs.c.state == "running", jobs.c.worker == worker]
        return bool(
            self.change(c, where, "requeued", {"why": why}, state="queued", run=None, attempts=attempts, eta_s=None)
        )


def _mine(job_id: str, run: str) -> list[sa.ColumnElement[bool]]:
    return [jobs.c.id == job_id, jobs.c.state == "running", jobs.c.run == run]
