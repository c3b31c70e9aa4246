"""Housekeeping of a worker: stray jobs, helpers with nothing to do, what is old."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from tonewheel.errors import DiskFull, Unavailable
from tonewheel.jobs.children import Children
from tonewheel.jobs.engine import Engine
from tonewheel.jobs.records import Records
from tonewheel.jobs.store import JobStore
from tonewheel.jobs.tables import jobs, workers
from tonewheel.jobs.types import JobError
from tonewheel.library.songs import Library

log = logging.getLogger("tonewheel.jobs")

_TICK_S = 1.0  # while jobs run here, or one was found that does not
_QUIET_TICK_S = 5.0
_RARELY_S = 600.0
_PATIENCE_S = 1.0  # with what is under way when it is to stop
_SWEEP_S = 6 * 3600.0  # it reads the whole list of stored files
# Looks, a second apart, at a job that was taken and has not begun: on a busy machine its thread may take so long. By
# looks and not by the clock, which goes on while this process is stopped or gets no processor.
_BEGINS_WITHIN = 30


class Upkeep:
    """The housekeeping thread. Every worker has one; doing a thing twice does no harm."""

    def __init__(
        self, library: Library, records: Records, engine: Engine, children: Children, worker_id: str,
        *, scratch: Path, keep_jobs_s: float, active: Callable[[], set[str]], left: set[str],
    ) -> None:  # fmt: skip
        self._library = library
        self._database = library.database
        self._records = records
        self._engine = engine
        self._store = JobStore(library.database)
        self._children = children
        self._worker_id = worker_id
        self._scratch = scratch  # of all workers of this data folder
        self._keep_jobs_s = keep_jobs_s
        self._active = active
        self._left = left
        self._suspects: dict[str, int] = {}  # and how often they were seen
        self._rarely_at = time.monotonic()
        self._sweep_at = time.monotonic() + _RARELY_S
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End it soon. What a store that hangs holds up is left behind: it is done again, here or elsewhere."""
        self._stop.set()
        self._thread.join(_PATIENCE_S)

    def _run(self) -> None:
        while not self._stop.wait(_TICK_S if self._active() or self._suspects else _QUIET_TICK_S):
            try:
                self._tick()
            except Exception as e:
                if self._stop.is_set():  # all that it uses is being closed
                    return
                if isinstance(e, (Unavailable, DiskFull)):
                    log.warning("housekeeping waits: %s", e.message)
                else:
                    log.exception("housekeeping failed")

    def _tick(self) -> None:
        self._children.trim()
        self.strays()
        if time.monotonic() - self._rarely_at > _RARELY_S:
            self._rarely_at = time.monotonic()
            rare: tuple[Callable[[], object], ...] = (
                self.orphans, self.settle, lambda: self._store.forget_older(self._keep_jobs_s), self._library.expire,
                self.clear_work, self.clear_scratch,
            )  # fmt: skip
            for work in rare:
                if self._stop.is_set():
                    return
                work()
        if time.monotonic() > self._sweep_at and not self._stop.is_set():
            self._sweep_at = time.monotonic() + _SWEEP_S
            self._library.sweep()

    def strays(self) -> None:
        """Give back jobs this worker has taken and does not run: what could not be written stopped them
        (a full disk, a database that was away). Seen twice, so that none is caught while it ends; and those that
        have not begun here only after `_BEGINS_WITHIN`, so that none is caught between taking and running."""
        taken = set(self._engine.pending(self._worker_id))
        missing = taken - self._active() - self._engine.active()
        self._left.difference_update(tuple(self._left - taken))  # they have moved on
        suspects = {job_id: self._suspects.get(job_id, 0) + 1 for job_id in missing}
        for job_id, seen in tuple(suspects.items()):
            if seen > (1 if job_id in self._left else _BEGINS_WITHIN):
                self.give_back(job_id, "it could not go on here")
                self._left.discard(job_id)
                del suspects[job_id]
        self._suspects = suspects

    def give_back(self, job_id: str, why: str) -> None:
        """Return a job of this worker to the queue; that start does not count towards its limit."""
        worker = self._worker_id
        self._database.write(lambda c: self._records.requeue(c, job_id, worker, why, counted=False))
        self._engine.give_back(job_id, worker)
        self._database.write(self._database.announce)

    def orphans(self) -> None:
        """Give back jobs of executors nobody knows: their worker's row went before they did."""
        found = self._engine.executors()
        # Asked after them: a worker is known before it takes its first job.
        known = set(self._database.read(lambda c: list(c.scalars(sa.select(workers.c.id)))))
        for executor in found - known:
            for job_id in self._engine.pending(executor):
                self._engine.give_back(job_id, executor)

    def settle(self) -> None:
        """End jobs the engine has ended by itself; there should be none."""
        open_ids = self._database.read(
            lambda c: list(c.scalars(sa.select(jobs.c.id).where(jobs.c.state.in_(("queued", "running")))))
        )
        for job_id, state in self._engine.ended(open_ids).items():
            error = JobError(type="internal", message=f"the job ended without a result ({state.lower()})")
            where = [jobs.c.id == job_id]
            if self._database.write(lambda c, w=where, e=error: self._records.end(c, w, "failed", e)):  # type: ignore[misc]
                log.error("job %s was ended by the engine: %s", job_id, state)

    def clear_work(self) -> None:
        """Remove work files of jobs that have ended, left by a worker that was killed just then."""
        there = self._library.storage.work_jobs()
        query = sa.select(jobs.c.id).where(jobs.c.state.in_(("queued", "running")))
        needed = set(self._database.read(lambda c: list(c.scalars(query))))
        for job_id in there:
            if job_id not in needed:
                self._library.storage.clear_work(job_id)

    def clear_scratch(self) -> None:
        """Remove what workers of this folder left that were killed and never came back."""
        there = list(self._scratch.iterdir())
        # Asked after them: a worker is known before it makes its folder.
        known = set(self._database.read(lambda c: list(c.scalars(sa.select(workers.c.id)))))
        for folder in there:
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)
