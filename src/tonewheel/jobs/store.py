"""The client side of jobs: order, look, list, cancel, follow. Executes nothing."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa

from tonewheel.errors import Conflict, DiskFull, InvalidRequest, NotFound, QueueFull, Unavailable
from tonewheel.jobs import engine
from tonewheel.jobs.estimate import Rate, read_rates, slots_of
from tonewheel.jobs.records import Records
from tonewheel.jobs.request import SongRequest
from tonewheel.jobs.tables import events, jobs, workers
from tonewheel.jobs.totals import Totals, read_totals
from tonewheel.jobs.types import ENDED, STATES, Job, JobEvent, JobPage, JobState, LaneCount, WorkerInfo
from tonewheel.jobs.views import read_jobs
from tonewheel.library.changes import changes
from tonewheel.library.database import Database
from tonewheel.library.ids import is_id, new_id
from tonewheel.library.tables import create, metadata

log = logging.getLogger("tonewheel.jobs")

DEFAULT_PRIORITY = 5
MOST_A_PAGE = 200
_MAX_KEY = 255
_A_BATCH = 500
_EVENTS_AT_ONCE = 1000
_STOP_NOTICE_S = 0.5  # while following: `stop` is asked, and a wake-up that got lost costs no more than this


def render_deadline_s(duration_s: float, least_s: float) -> float:
    """Seconds a render may take: max(configured, 5 × duration + 30 s)."""
    return max(least_s, 5 * duration_s + 30)


class JobStore:
    """Jobs as a gateway or a command sees them. Thread-safe."""

    def __init__(
        self,
        database: Database,
        *,
        queue_limit: int = 500,
        least_deadline_s: float = 120.0,
        dead_after_s: float = 15.0,
        has_room: Callable[[], bool] = lambda: True,
    ) -> None:
        self.database = database
        self.queue_limit = queue_limit
        self.least_deadline_s = least_deadline_s
        self.dead_after_s = dead_after_s
        self._has_room = has_room
        self._records = Records(database)
        self._client = engine.Client(database)

    def create_tables(self) -> None:
        """Create what is missing in the database; once a process, before anything else."""
        create(self.database, metadata)
        engine.prepare(self.database)

    # ── ordering ──

    def submit(
        self,
        request: SongRequest,
        *,
        priority: int = DEFAULT_PRIORITY,
        idempotency_key: str | None = None,
        request_id: str | None = None,
        traceparent: str | None = None,
        deadline_s: float | None = None,
        expected_s: float | None = None,
    ) -> Job:
        """Accept a job: when this returns it is on the disk and will be done.

        The same key with the same request gives the job of the first time, with another one Conflict (409).
        `priority` 0 goes first, 9 last; `deadline_s` is what its render may take (default: by its length),
        `expected_s` what it will probably take (default: by what jobs of its model took). Raises QueueFull (429),
        DiskFull (507), Unavailable (503).
        """
        if not 0 <= priority <= 9:
            raise InvalidRequest(f"priority is {priority}: it may be 0 (first) to 9 (last)", param="priority")
        if idempotency_key is not None and not 1 <= len(idempotency_key) <= _MAX_KEY:
            raise InvalidRequest(f"an idempotency key has 1 to {_MAX_KEY} characters", param="idempotency_key")
        body = request.to_dict()
        row = {
            "id": new_id("job"), "kind": "song", "state": "queued", "model": request.model, "request": body,
            "request_hash": _hash(body), "idempotency_key": idempotency_key, "priority": priority,
            "duration_s": request.length_s,
            "deadline_s": deadline_s or render_deadline_s(request.length_s, self.least_deadline_s), "fraction": 0.0,
            "eta_s": expected_s, "attempts": 0, "request_id": request_id, "traceparent": traceparent, "last_event": 1,
        }  # fmt: skip
        return self.get(self.database.write(lambda c: self._accept(c, row)))

    def _accept(self, c: sa.Connection, row: dict[str, Any]) -> str:
        self.database.lock(c, "tonewheel queue")  # counting and adding are one
        job_id: str = row["id"]
        if (known := self._known(c, row)) is not None:
            return known
        if not self._has_room():
            raise DiskFull("the disk of the server is nearly full: free some space; no new jobs are taken")
        waiting = c.scalar(sa.select(sa.func.count()).select_from(jobs).where(jobs.c.state == "queued")) or 0
        if waiting >= self.queue_limit:
            raise self._full(c, waiting)
        now = self.database.now
        c.execute(sa.insert(jobs).values(**row, created_at=now))
        c.execute(sa.insert(events).values(job_id=job_id, id=1, type="queued", at=now, data={}))
        self._client.enqueue(c, job_id, row["model"], row["priority"])
        self.database.announce(c)
        return job_id

    def _known(self, c: sa.Connection, row: dict[str, Any]) -> str | None:
        """The job that is already there: by its key, or because this transaction is repeated."""
        key = row["idempotency_key"]
        if key is not None:
            found = c.execute(sa.select(jobs.c.id, jobs.c.request_hash).where(jobs.c.idempotency_key == key)).first()
            if found is not None and found.request_hash != row["request_hash"]:
                raise Conflict(
                    "this idempotency key was used before with another request: use a new key for a new request",
                    param="idempotency_key",
                )
            if found is not None:
                return str(found.id)
        return c.scalar(sa.select(jobs.c.id).where(jobs.c.id == row["id"]))

    def _full(self, c: sa.Connection, waiting: int) -> QueueFull:
        first = read_jobs(c, self.database, [jobs.c.state == "running"], limit=MOST_A_PAGE)
        etas = [j.eta_s for j in first if j.eta_s is not None]
        wait_s = min(max(min(etas, default=10.0), 1.0), 600.0)
        return QueueFull(
            f"{waiting} jobs are waiting and no more than {self.queue_limit} may: try again in {wait_s:.0f} s",
            retry_after_s=wait_s,
            position=waiting + 1,
        )

    # ── looking ──

    def get(self, job_id: str) -> Job:
        """A job as it stands. Raises NotFound, for an id that is none as well."""
        if is_id("job", job_id):
            found = self.database.read(lambda c: read_jobs(c, self.database, [jobs.c.id == job_id], limit=1))
            if found:
                return found[0]
        raise NotFound(f"there is no job {job_id[:40]!r}", param="id")

    def find(
        self,
        *,
        state: JobState | None = None,
        model: str | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> JobPage:
        """Jobs, newest first; `after` is `next` of the page before."""
        if not 1 <= limit <= MOST_A_PAGE:
            raise InvalidRequest(f"limit is {limit}: it may be 1 to {MOST_A_PAGE}", param="limit")
        if state is not None and state not in STATES:
            raise InvalidRequest(f"state is {state[:40]!r}: it may be {', '.join(STATES)}", param="state")
        where: list[sa.ColumnElement[bool]] = []
        if state is not None:
            where.append(jobs.c.state == state)
        if model is not None:
            where.append(jobs.c.model == model)
        if after is not None:
            seq = sa.select(jobs.c.seq).where(jobs.c.id == after).scalar_subquery()
            where.append(jobs.c.seq < seq)
        found = self.database.read(lambda c: read_jobs(c, self.database, where, limit=limit + 1))
        return JobPage(jobs=tuple(found[:limit]), next=found[limit - 1].id if len(found) > limit else None)

    def lanes(self) -> list[LaneCount]:
        """How much waits and runs, by model: for metrics and dashboards."""

        def work(c: sa.Connection) -> list[LaneCount]:
            query = (
                sa.select(
                    jobs.c.model, jobs.c.state, sa.func.count().label("n"),
                    (self.database.now - sa.func.min(jobs.c.created_at)).label("oldest"),
                )
                .where(jobs.c.state.in_(("queued", "running")))
                .group_by(jobs.c.model, jobs.c.state)
            )  # fmt: skip
            alive = [w.slots for w in self._workers(c) if w.alive]
            found: dict[str, dict[str, Any]] = {m: {} for slots in alive for m in slots}
            for r in c.execute(query):
                found.setdefault(r.model, {})[r.state] = r
            return [
                LaneCount(
                    model=model, queued=s["queued"].n if "queued" in s else 0,
                    running=s["running"].n if "running" in s else 0, slots=slots_of(alive, model),
                    oldest_queued_s=s["queued"].oldest if "queued" in s else None,
                )
                for model, s in sorted(found.items())
            ]  # fmt: skip

        return self.database.read(work)

    def workers(self) -> list[WorkerInfo]:
        """Workers that have been heard of."""
        return self.database.read(self._workers)

    def nobody_works(self) -> bool:
        """Whether what is ordered waits for a worker to come."""
        return not any(worker.alive for worker in self.workers())

    def _workers(self, c: sa.Connection) -> list[WorkerInfo]:
        alive = (workers.c.beat_at > self.database.now - self.dead_after_s).label("alive")
        rows = c.execute(sa.select(workers, alive).order_by(workers.c.id)).mappings()
        return [WorkerInfo(**{k: v for k, v in r.items() if k != "incarnation"}) for r in rows]

    def rates(self) -> dict[str, Rate]:
        """How fast each model has been on these machines."""
        return self.database.read(read_rates)

    def totals(self) -> dict[str, Totals]:
        """What was done in all, by model, since the database was made."""
        return self.database.read(read_totals)

    # ── cancelling ──

    def cancel(self, job_id: str) -> Job:
        """Stop a job: a queued one never starts, a running one stops at its next step. A job that has ended
        stays as it is. Raises NotFound."""
        self.get(job_id)
        where = [jobs.c.id == job_id]
        if self.database.write(lambda c: self._records.end(c, where, "cancelled")):
            try:
                self._client.cancel(job_id)
            except (Unavailable, DiskFull) as e:  # a worker that takes it sees that it has ended
                log.warning("cancelled job %s stays in its queue: %s", job_id, e)
        return self.get(job_id)

    def delete(self, job_id: str) -> None:
        """Forget a job that has ended; its song stays. Raises NotFound, Conflict while it is open."""
        if not self.get(job_id).ended:
            raise Conflict("the job has not ended: cancel it first", param="id")
        self.forget([job_id])

    def forget(self, job_ids: list[str]) -> None:
        """Remove ended jobs with their events."""
        ended = sa.select(jobs.c.id).where(jobs.c.id.in_(job_ids), jobs.c.state.in_(ENDED))
        ids = self.database.read(lambda c: list(c.scalars(ended)))
        if not ids:
            return
        # Our own rows go last: as long as they are there, this can be done again.
        self._client.forget(ids)

        def work(c: sa.Connection) -> None:
            c.execute(sa.delete(events).where(events.c.job_id.in_(ids)))
            c.execute(sa.delete(jobs).where(jobs.c.id.in_(ids)))

        self.database.write(work)

    def forget_older(self, age_s: float) -> None:
        """Forget jobs that ended so long ago; their songs stay."""
        limit = self.database.now - age_s
        old = sa.select(jobs.c.id).where(jobs.c.state.in_(ENDED), jobs.c.finished_at < limit).limit(_A_BATCH)
        while ids := self.database.read(lambda c: list(c.scalars(old))):
            self.forget(ids)

    # ── following ──

    def events(self, job_id: str, *, after: int = 0) -> list[JobEvent]:
        """All that happened since event `after` (0 = from the start). Raises NotFound."""
        self.get(job_id)
        found: list[JobEvent] = []
        while some := self.events_after(job_id, found[-1].id if found else after):
            found += some
        return found

    def events_after(self, job_id: str, after: int) -> list[JobEvent]:
        """The next events, at most a thousand; none when there is nothing new or no such job any more."""
        query = sa.select(events).where(events.c.job_id == job_id, events.c.id > after)
        query = query.order_by(events.c.id).limit(_EVENTS_AT_ONCE)
        return self.database.read(lambda c: [JobEvent(**r) for r in c.execute(query).mappings()])

    def watch(
        self, job_id: str, *, after: int = 0, stop: Callable[[], bool] = lambda: False, idle_s: float = 15.0
    ) -> Iterator[JobEvent | None]:
        """Events as they happen, from after event `after` until the job has ended; for one watcher in a thread of
        its own (many watchers: `feed.py`). None is said when nothing happened for `idle_s`, so that the caller
        can send a sign of life. Blocks; `stop` is asked often. Raises NotFound."""
        ended = self.get(job_id).ended
        waiter = changes(self.database)
        told_at = time.monotonic()
        try:
            while not stop():
                waiter.wait(_STOP_NOTICE_S)
                some = self.events_after(job_id, after)
                for event in some:
                    yield event
                    after, told_at = event.id, time.monotonic()
                    if event.last:
                        return
                if ended and not some:
                    return
                if time.monotonic() - told_at >= idle_s:
                    yield None
                    told_at = time.monotonic()
                    ended = self.get(job_id).ended  # its last event is then among those that are read next
        finally:
            waiter.close()

    def wait(self, job_id: str, timeout_s: float) -> Job:
        """The job when it has ended, or as it stands after the time."""
        until = time.monotonic() + timeout_s
        for event in self.watch(job_id, stop=lambda: time.monotonic() > until, idle_s=timeout_s):
            if event is not None and event.last:
                break
        return self.get(job_id)


def _hash(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
