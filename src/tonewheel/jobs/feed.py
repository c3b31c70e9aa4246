"""Events for many watchers at once: one thread and one connection, however many follow.

feed = Feed(store); feed.start()
async for event in feed.follow(job_id, after=last_event_id): …      in a gateway; None = a sign of life is due
feed.close()
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable

import sqlalchemy as sa

from tonewheel.errors import DiskFull, Unavailable
from tonewheel.jobs.store import JobStore
from tonewheel.jobs.tables import jobs
from tonewheel.jobs.types import JobEvent
from tonewheel.library.changes import changes

log = logging.getLogger("tonewheel.jobs")

_NOTICE_S = 0.5  # to notice that it is to close
_SAFETY_S = 5.0  # a wake-up that got lost costs no more than this
_AT_ONCE = 500

Wake = Callable[[], None]


class Feed:
    """Tells watchers when there is something new for their job. Thread-safe."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._watchers: dict[str, dict[int, Wake]] = {}
        self._seen: dict[str, int] = {}
        self._next = 0
        self._closed = threading.Event()
        self._followed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop, and wake everybody so that they notice."""
        self._closed.set()
        with self._lock:
            watched = list(self._watchers)
        self._wake(watched)  # before the thread has ended: a database that is slow holds none of them up
        self._thread.join(10.0)

    def watchers(self) -> int:
        """How many follow a job now."""
        with self._lock:
            return sum(map(len, self._watchers.values()))

    async def follow(self, job_id: str, *, after: int = 0, idle_s: float = 15.0) -> AsyncIterator[JobEvent | None]:
        """Events of a job after event `after`, as they happen, until it has ended; None when nothing happened for
        `idle_s`. Nothing blocks the event loop. Raises NotFound before the first one."""
        news = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(news.set)
            except RuntimeError:  # the loop has ended before its watcher
                log.debug("a watcher of %s is gone", job_id)

        leave = self._enter(job_id, wake)
        try:
            while not self._closed.is_set():
                news.clear()
                # Asked before the events are read: its last one is then among them.
                ended = (await asyncio.to_thread(self._store.get, job_id)).ended
                while some := await asyncio.to_thread(self._store.events_after, job_id, after):
                    for event in some:
                        yield event
                        after = event.id
                        if event.last:
                            return
                if ended:
                    return
                try:
                    # Not wait_for: on Python 3.11 it swallows a cancel that comes at the moment of the news.
                    async with asyncio.timeout(idle_s):
                        await news.wait()
                except TimeoutError:
                    yield None
        finally:
            leave()

    def _enter(self, job_id: str, wake: Wake) -> Callable[[], None]:
        with self._lock:
            self._next += 1
            number = self._next
            self._watchers.setdefault(job_id, {})[number] = wake
        self._followed.set()

        def leave() -> None:
            with self._lock:
                of_job = self._watchers[job_id]
                del of_job[number]
                if not of_job:
                    del self._watchers[job_id]
                    self._seen.pop(job_id, None)

        return leave

    def _run(self) -> None:
        waiter = changes(self._store.database)
        idle = 0.0
        try:
            while not self._closed.is_set():
                if not self._wanted():
                    continue
                changed = waiter.wait(_NOTICE_S)
                idle = 0.0 if changed else idle + _NOTICE_S
                if changed or idle >= _SAFETY_S:
                    idle = 0.0
                    self._look_safely()
        finally:
            waiter.close()

    def _look_safely(self) -> None:
        try:
            self._look()
        except Exception:  # this thread tells everybody: nobody would hear anything more
            log.exception("the feed could not look; it is tried again")
            self._closed.wait(_NOTICE_S)

    def _wanted(self) -> bool:
        """Whether to look for changes; waits a moment when nobody follows. What PostgreSQL tells is heard all the
        same, or it would have to keep it."""
        if self._watchers or not self._store.database.is_sqlite:
            return True
        self._followed.clear()
        return bool(self._watchers) or self._followed.wait(_NOTICE_S)

    def _look(self) -> None:
        with self._lock:
            watched = list(self._watchers)
        for start in range(0, len(watched), _AT_ONCE):
            some = watched[start : start + _AT_ONCE]
            query = sa.select(jobs.c.id, jobs.c.last_event).where(jobs.c.id.in_(some))
            try:
                found = {r.id: r.last_event for r in self._store.database.read(lambda c, q=query: c.execute(q).all())}  # type: ignore[misc]
            except (Unavailable, DiskFull) as e:
                log.debug("the feed waits: %s", e)
                return
            # A job that was forgotten meanwhile is news, too.
            self._wake([j for j in some if found.get(j, -1) != self._seen.get(j)])
            with self._lock:
                self._seen.update({j: found.get(j, -1) for j in some if j in self._watchers})

    def _wake(self, job_ids: list[str]) -> None:
        with self._lock:
            wakes = [wake for job_id in job_ids for wake in self._watchers.get(job_id, {}).values()]
        for wake in wakes:
            wake()
