"""Worker threads that never keep the process from ending.

The threads of `concurrent.futures` are joined at exit: one request stuck in a C library would hold the
process for ever. These are daemons, one a slot, and live as long as the model (some models keep state a thread).
"""

from __future__ import annotations

import ctypes
import gc
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Threads:
    """`count` daemon threads that take jobs in the order they came."""

    def __init__(self, count: int, name: str) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._at_work = 0
        self._gave_back_at = time.monotonic()
        self._threads = [threading.Thread(target=self._work, name=f"{name}-{i}", daemon=True) for i in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        self._jobs.put((job, future))
        return future

    def close(self, timeout_s: float = 5.0) -> bool:
        """Let them end; False when a job is still at work after `timeout_s`. One that only gives memory back is waited
        for: it ends, however long that takes on a busy machine."""
        for _ in self._threads:
            self._jobs.put(None)
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            while thread.is_alive() and (not self._at_work or time.monotonic() < until):
                thread.join(0.05)
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        worked_s = 0.0  # since memory was given back
        while (item := self._jobs.get()) is not None:
            job, future = item
            if not future.set_running_or_notify_cancel():
                continue
            started, failed = time.monotonic(), False
            with self._lock:
                self._at_work += 1
            try:
                result = job()
            except BaseException as error:
                failed = True
                traceback.clear_frames(error.__traceback__)  # they hold what the work was at: files, samples
                future.set_exception(error)
            else:
                future.set_result(result)
                del result
            del item, job, future  # or the last song would stay in memory until the next
            worked_s += time.monotonic() - started
            if self._is_time(worked_s, failed):
                _give_back(collect=failed)
                worked_s = 0.0

    def _is_time(self, worked_s: float, failed: bool) -> bool:
        """Whether to give memory back now that a job has ended. Beside others only now and then: they would have to
        get the same pages again, with every batch, from the kernel, which clears them first."""
        with self._lock:
            self._at_work -= 1
            now = time.monotonic()
            busy = self._at_work > 0 and not failed and now - self._gave_back_at < _BETWEEN_S
            if worked_s <= _LONG_S or busy:
                return False
            self._gave_back_at = now
            return True


_LONG_S = 0.5  # short work leaves little behind, but a thousand times little is a lot
_BETWEEN_S = 10.0


def _give_back(*, collect: bool) -> None:
    """Have glibc return what was freed: it keeps some 100 MB after a song, for a next one that may never come.

    `collect` after work that was cancelled or failed: an error and the frames it went through hold each other, and
    with them the samples that were in the making (some 150 MB of a song of five minutes).
    """
    if collect:
        gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none and needs none
        if trim is not None:
            trim(0)
