"""One start of a job, seen from inside: telling how far it is, and learning that it is to stop."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable

from tonewheel.errors import DiskFull, Unavailable
from tonewheel.jobs.engine import Interrupted
from tonewheel.jobs.records import Records, Start

log = logging.getLogger("tonewheel.jobs")

_TELL_EVERY_S = 1.0
_ASK_EVERY_S = 0.4


class Control:
    """Progress out, stop signals in. Thread-safe; asks the database a few times a second at most."""

    def __init__(self, records: Records, start: Start, stopping: Callable[[], bool]) -> None:
        self.start = start
        self._records = records
        self._stopping = stopping
        self._lock = threading.Lock()
        self._lost = False
        self._stage = ""
        self._from, self._to = 0.0, 0.0
        self._told_at = self._asked_at = -1e9

    def enter(self, stage: str, share: tuple[float, float], *, long: bool = False) -> None:
        """A step begins that covers `share` (from, to) of the whole job; a `long` one is always told.
        Raises Interrupted."""
        self._stage, (self._from, self._to) = stage, share
        if long or time.monotonic() - self._told_at >= _TELL_EVERY_S:
            self._tell(stage, self._from, None)
        self.check()

    def progress(self, stage: str, fraction: float, eta_s: float | None = None) -> None:
        """Within a step: `fraction` of the step, 0-1. Throttled; never raises."""
        if time.monotonic() - self._told_at < _TELL_EVERY_S:
            return
        share = min(1.0, max(0.0, fraction)) if math.isfinite(fraction) else 0.0
        whole = self._from + (self._to - self._from) * share
        self._tell(f"{self._stage}: {stage}" if stage else self._stage, whole, eta_s)

    def _tell(self, stage: str, fraction: float, eta_s: float | None) -> None:
        with self._lock:
            self._told_at = self._asked_at = time.monotonic()
            try:
                if not self._records.progress(self.start.job_id, self.start.run, stage, fraction, eta_s):
                    self._lost = True
            except (Unavailable, DiskFull) as e:
                log.debug("progress of %s not written: %s", self.start.job_id, e)

    def cancelled(self) -> bool:
        """Whether to stop: cancelled, taken over by another worker, or this worker is going down."""
        if self._lost or self._stopping():
            return True
        with self._lock:
            if time.monotonic() - self._asked_at >= _ASK_EVERY_S:
                self._asked_at = time.monotonic()
                try:
                    self._lost = not self._records.holds(self.start.job_id, self.start.run)
                except Unavailable as e:
                    log.debug("could not ask about %s: %s", self.start.job_id, e)
        return self._lost

    def check(self) -> None:
        """Raises Interrupted when it is to stop."""
        if self.cancelled():
            raise Interrupted

    def pause(self, seconds: float) -> None:
        """Sleep, unless it is to stop. Raises Interrupted."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.check()
            time.sleep(min(0.2, left))
        self.check()

    def retrying(self, stage: str, attempt: int, why: str, in_s: float) -> None:
        """A fault that may pass: tell that the step will be tried again."""
        data = {"stage": stage, "attempt": attempt, "why": why, "in_s": in_s}
        try:
            if not self._records.note(self.start.job_id, self.start.run, "retrying", data):
                self._lost = True
        except (Unavailable, DiskFull) as e:
            log.debug("retry of %s not told: %s", self.start.job_id, e)
