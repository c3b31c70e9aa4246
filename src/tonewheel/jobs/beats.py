"""Signs of life: every worker tells that it lives, and takes over from those that no longer do.

A worker is dead when nothing was heard of it for the limit, by the database's clock. Nobody judges
others before its own signs have come through for a full limit without a gap: after an outage of the
database, or a laptop's sleep, all signs look old at once. A wrong judgement costs computing time and
nothing else: the engine fences the stale worker, and the job table lets only the newest start write.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from tonewheel.errors import DiskFull, Unavailable
from tonewheel.jobs.engine import Engine
from tonewheel.jobs.identity import Identity
from tonewheel.jobs.records import Records
from tonewheel.jobs.tables import jobs, workers
from tonewheel.library.database import Database

log = logging.getLogger("tonewheel.jobs")

_BEATS_A_LIMIT = 5
_STOP_S = 10.0


class Beats:
    """The beating thread of one worker."""

    def __init__(
        self, database: Database, records: Records, engine: Engine, me: Identity, slots: Mapping[str, int],
        *, limit_s: float, on_lost: Callable[[], None],
    ) -> None:  # fmt: skip
        self._database = database
        self._records = records
        self._engine = engine
        self._me = me
        self._slots = dict(slots)
        self._limit_s = limit_s
        self._on_lost = on_lost
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="beats", daemon=True)
        self._last = time.monotonic()
        self._last_told: float | None = None  # the same by the database's clock
        self._steady_since = time.monotonic()

    def enlist(self) -> None:
        """Put this worker's name down, before it takes any work; and give back what it left when it died."""
        now = self._database.now
        row: dict[str, Any] = {
            "incarnation": self._me.incarnation, "host": self._me.host, "pid": self._me.pid, "slots": self._slots,
            "started_at": now, "beat_at": now,
        }  # fmt: skip

        def work(c: sa.Connection) -> None:
            insert = self._database.insert(workers).values(id=self._me.id, **row)
            c.execute(insert.on_conflict_do_update(index_elements=["id"], set_=row))
            self._requeue_of(c, self._me.id)

        self._database.write(work)
        self._last = self._steady_since = time.monotonic()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop beating and take the name off the list: nothing is left to take over."""
        self._stop.set()
        self._thread.join(_STOP_S)
        mine = (workers.c.id == self._me.id, workers.c.incarnation == self._me.incarnation)
        try:
            self._database.write(lambda c: c.execute(sa.delete(workers).where(*mine)), patience_s=2.0)
        except (Unavailable, DiskFull) as e:
            log.warning("could not sign off: %s", e)

    def _run(self) -> None:
        pause = self._limit_s / _BEATS_A_LIMIT
        while not self._stop.wait(pause):
            try:
                self._beat()
                self._judge()
            except (Unavailable, DiskFull) as e:
                log.warning("no sign of life written: %s", e.message)
            except Exception:
                log.exception("a beat failed")

    def _beat(self) -> None:
        query = (
            sa.update(workers)
            .where(workers.c.id == self._me.id, workers.c.incarnation == self._me.incarnation)
            .values(beat_at=self._database.now)
            .returning(workers.c.beat_at)
        )
        told = self._database.write(lambda c: c.scalar(query), patience_s=0.0)
        now = time.monotonic()
        # By both clocks: this machine's stands still while it sleeps.
        told_gap = 0.0 if told is None or self._last_told is None else told - self._last_told
        if max(now - self._last, told_gap) > self._limit_s / 2:
            self._steady_since = now  # there was a gap: others may have been away, too
        self._last, self._last_told = now, told
        if told is None:
            self._missed()

    def _missed(self) -> None:
        """Somebody took this worker for dead. Its work has moved on; it is a new worker from here."""
        query = sa.select(workers.c.incarnation).where(workers.c.id == self._me.id)
        other = self._database.read(lambda c: c.scalar(query))
        if other is not None:
            log.error("another worker goes by the name %s: this one stops", self._me.id)
            self._on_lost()
            return
        log.warning("this worker was taken for dead; what it did goes on elsewhere")
        self.enlist()

    def _judge(self) -> None:
        """Take over from the dead."""
        if time.monotonic() - self._steady_since < self._limit_s:
            return
        silent = workers.c.beat_at < self._database.now - self._limit_s
        others = sa.select(workers.c.id).where(silent, workers.c.id != self._me.id)
        for worker in self._database.read(lambda c: list(c.scalars(others))):
            self.take_over(worker)

    def take_over(self, worker: str) -> None:
        """Give back all work of a dead worker, then take its name off the list."""
        moved = self._database.write(lambda c: self._requeue_of(c, worker))
        taken = [job_id for job_id in self._engine.pending(worker) if self._engine.give_back(job_id, worker)]
        log.warning("worker %s is dead: %d jobs move on", worker, len({*moved, *taken}))
        silent = workers.c.beat_at < self._database.now - self._limit_s

        def work(c: sa.Connection) -> None:
            c.execute(sa.delete(workers).where(workers.c.id == worker, silent))
            self._database.announce(c)

        self._database.write(work)

    def _requeue_of(self, c: sa.Connection, worker: str) -> list[str]:
        running = sa.select(jobs.c.id).where(jobs.c.worker == worker, jobs.c.state == "running")
        ids = list(c.scalars(running))
        return [i for i in ids if self._records.requeue(c, i, worker, "its worker died", counted=True)]
