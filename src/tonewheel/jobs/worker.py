"""A worker: takes jobs of the models its renderer has, runs them, and leaves nothing behind when it goes.

    Worker(WorkerSettings.of(settings())).run()

SIGTERM and SIGINT drain it: no new jobs, running ones may finish for `drain_s`; what is not done by then
goes back to the queue, uncounted. A second signal does not wait.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from sqlalchemy.exc import SQLAlchemyError

from tonewheel import telemetry
from tonewheel.errors import DiskFull, Unavailable
from tonewheel.jobs.beats import Beats
from tonewheel.jobs.catch_up import CatchUp
from tonewheel.jobs.children import Children
from tonewheel.jobs.engine import Engine, wait_for_database
from tonewheel.jobs.identity import Identity
from tonewheel.jobs.making import Tools
from tonewheel.jobs.opening import database_url
from tonewheel.jobs.planning import TemplatePlanner
from tonewheel.jobs.records import Records
from tonewheel.jobs.rendering import Listener, Planner, Renderer
from tonewheel.jobs.store import JobStore
from tonewheel.jobs.upkeep import Upkeep
from tonewheel.jobs.workflow import SongWorkflow
from tonewheel.library.changes import changes
from tonewheel.library.database import Database
from tonewheel.library.songs import Library
from tonewheel.library.storage import open_storage
from tonewheel.settings import Settings, made_folder

log = logging.getLogger("tonewheel.jobs")

_PATIENCE_S = 120.0  # a database that restarts is waited for
_LOOK_AGAIN_S = 0.2  # while jobs wait: a slot may just have become free
_SAFETY_LOOK_S = 10.0
_NOTICE_S = 0.5  # a signal is noticed
_STOP_S = 12.0  # running work notices that it is to stop


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker needs to know; `of` takes it from the settings of the process."""

    data_dir: Path
    database_url: str | None = None  # None = an SQLite file in the data folder
    storage_url: str | None = None
    max_starts: int = 3
    dead_after_s: float = 15.0
    drain_s: float = 60.0
    keep_jobs_s: float = 30 * 86400.0
    keep_songs_s: float | None = None
    min_free_bytes: int = 100 * 10**6
    hear_old_songs: bool = True

    @classmethod
    def of(cls, settings: Settings) -> WorkerSettings:
        songs = settings.keep_songs_days
        return cls(
            data_dir=settings.data_dir, database_url=settings.database_url, storage_url=settings.storage_url,
            max_starts=settings.max_starts, dead_after_s=settings.worker_dead_after_s, drain_s=settings.drain_s,
            keep_jobs_s=settings.keep_jobs_days * 86400, keep_songs_s=None if songs is None else songs * 86400,
            min_free_bytes=round(settings.min_free_mb * 10**6), hear_old_songs=settings.hear_old_songs,
        )  # fmt: skip


class Worker:
    """One a process (the engine is a singleton).

    `renderer` is the fleet of the data folder and `planner` the template planner, unless others are given.
    """

    def __init__(
        self, settings: WorkerSettings, *, renderer: Renderer | None = None, planner: Planner | None = None
    ) -> None:
        self.settings = settings
        made_folder(settings.data_dir)
        url = database_url(settings.data_dir, settings.database_url)
        self.database = Database.open(url, patience_s=_PATIENCE_S, room_patience_s=_PATIENCE_S)
        self.library = Library(self.database, open_storage(settings.storage_url, settings.data_dir))
        self.children = Children()
        self.renderer: Renderer = renderer or _fleet(settings.data_dir)
        self.planner: Planner = planner or TemplatePlanner(self.children)
        self.slots = dict(self.renderer.slots())
        self.identity = Identity(settings.data_dir)
        # Plain flags: a signal handler must not touch a lock that the thread it interrupts may hold.
        self._draining = False
        self._stopping = False
        self._parent: int | None = None
        records = Records(self.database)
        tools = Tools(
            records=records, library=self.library, renderer=self.renderer, planner=self.planner,
            children=self.children, scratch=settings.data_dir / "scratch" / self.identity.id,
            min_free_bytes=settings.min_free_bytes, keep_songs_s=settings.keep_songs_s,
        )  # fmt: skip
        self._flow = SongWorkflow(tools, self.identity.id, settings.max_starts, stopping=lambda: self._stopping)
        self.engine = Engine(self.database, executor_id=self.identity.id, slots=self.slots, run=self._flow.run)
        self._flow.engine = self.engine
        self._beats = Beats(
            self.database, records, self.engine, self.identity, self.slots, limit_s=settings.dead_after_s,
            on_lost=self.drain,
        )  # fmt: skip
        self._upkeep = Upkeep(
            self.library, records, self.engine, self.children, self.identity.id,
            scratch=settings.data_dir / "scratch", keep_jobs_s=settings.keep_jobs_s,
            active=lambda: set(self._flow.running.values()), left=self._flow.left,
        )  # fmt: skip
        self._catch_up: CatchUp | None = None
        if settings.hear_old_songs and isinstance(self.renderer, Listener):
            self._catch_up = CatchUp(
                self.library, self.renderer, self.children, tools.scratch, busy=lambda: bool(self._flow.running)
            )

    def run(self, on_ready: Callable[[], None] = lambda: None, *, stop_with_parent: bool = False) -> None:
        """Work until a signal or `drain` (or, if asked, until its parent has ended); returns when all is tidy."""
        telemetry.configure("worker")
        self._parent = os.getppid() if stop_with_parent else None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.drain())
        self.start()
        on_ready()
        try:
            self._dispatch()
        finally:
            self.close()
            telemetry.shutdown()

    def start(self) -> None:
        """Make the tables, enlist, take up what this worker left, and begin to take jobs."""
        shutil.rmtree(self._flow.tools.scratch, ignore_errors=True)
        self._check_storage()
        wait_for_database(self.database, _PATIENCE_S)
        JobStore(self.database).create_tables()
        self._beats.enlist()
        # Not before: others take the folder of a worker that is not on the list for that of a dead one.
        self._flow.tools.scratch.mkdir(parents=True, exist_ok=True)
        self.engine.launch()
        self._beats.start()
        self._upkeep.start()
        if self._catch_up is not None:
            self._catch_up.start()
        log.info("worker %s takes jobs for %d models", self.identity.id, len(self.slots))
        log.debug("at once: %s", ", ".join(f"{n} × {m}" for m, n in self.slots.items()))

    def _check_storage(self) -> None:
        """Raises StorageRefused: better no worker than one whose every song ends with that."""
        try:
            self.library.storage.check()
        except (Unavailable, DiskFull) as e:
            log.warning("%s: songs wait for it", e.message)

    def drain(self) -> None:
        """Take no more jobs and end when the running ones have, or soon after when asked twice."""
        self._stopping = self._draining
        self._draining = True

    def _dispatch(self) -> None:
        """Look for work whenever something was committed."""
        waiter = changes(self.database)
        waiting: set[str] = set()
        looked_at = 0.0
        try:
            while not self._draining:
                if self._parent is not None and os.getppid() != self._parent:
                    self.drain()
                changed = waiter.wait(_LOOK_AGAIN_S if waiting else _NOTICE_S)
                if self._draining:
                    return
                if not changed and not waiting and time.monotonic() - looked_at < _SAFETY_LOOK_S:
                    continue
                looked_at = time.monotonic()
                waiting = self._look()
        finally:
            waiter.close()

    def _look(self) -> set[str]:
        """Wake the queues that have work waiting; which they are."""
        try:
            waiting = self.engine.waiting()
        except (SQLAlchemyError, Unavailable) as e:
            log.warning("could not look for work: %s", e)
            time.sleep(1.0)
            return set()
        for model in waiting:
            self.engine.look(model)
        return waiting

    def close(self) -> None:
        """Drain, give back what is not done, sign off."""
        self.engine.stop_taking()
        log.info("worker %s takes no more; %d jobs may finish", self.identity.id, len(self._flow.running))
        until = time.monotonic() + self.settings.drain_s
        while (self.engine.active() or self._flow.running) and time.monotonic() < until and not self._stopping:
            time.sleep(0.05)
        self._stopping = True
        until = time.monotonic() + _STOP_S
        while self._flow.running and time.monotonic() < until:
            time.sleep(0.05)
        if self._catch_up is not None:
            self._catch_up.stop()
        self._upkeep.stop()
        try:
            for job_id in self.engine.pending(self.identity.id):
                self._upkeep.give_back(job_id, "its worker was stopped")
        except (Unavailable, DiskFull) as e:
            log.warning("what runs here could not be given back; it moves on by itself: %s", e.message)
        else:
            self._beats.stop()
        self.renderer.close()
        self.children.close()
        self.engine.close()
        shutil.rmtree(self._flow.tools.scratch, ignore_errors=True)
        self.database.close()
        self.identity.release()
        log.info("worker %s has ended", self.identity.id)


def end_process() -> NoReturn:
    """End this process now, after `run`: all is closed and written. To take the interpreter down in good order costs
    a third of what an idle worker has computed in its life, and many seconds on a machine that is busy."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(0)


def _fleet(data_dir: Path) -> Renderer:
    from tonewheel.fleet.client import Fleet  # noqa: PLC0415  (a worker with another renderer needs none of it)
    from tonewheel.jobs.fleet_renderer import FleetRenderer  # noqa: PLC0415

    return FleetRenderer(Fleet(data_dir))
