"""While a model works: its progress, its deadline and being told to stop."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from tonewheel.errors import Cancelled, DeadlineExceeded, TonewheelError
from tonewheel.models.results import Audio


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work is: `fraction` of the whole request, 0-1; `eta_s` seconds left, None = not known yet."""

    stage: str
    fraction: float
    eta_s: float | None = None


class RunContext:
    """The line between running work and whoever waits for it. Thread-safe.

    The work calls `progress` at each step (which also tells it to stop) or `check_cancelled` in
    between; the caller calls `cancel`. `deadline` is a `time.monotonic()` value, None = none.
    """

    def __init__(
        self,
        *,
        deadline: float | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        on_audio: Callable[[Audio], None] | None = None,
        request_id: str = "",
    ) -> None:
        self.deadline = deadline
        self.request_id = request_id
        self._on_progress = on_progress
        self._on_audio = on_audio
        self._started = time.monotonic()
        self._reason: TonewheelError | None = None
        self._stop = threading.Event()
        self._furthest = 0.0

    def progress(self, stage: str, fraction: float, eta_s: float | None = None) -> None:
        """Tell where the work is. Raises Cancelled or DeadlineExceeded when it is to stop.

        `fraction` never goes back; without `eta_s` it is reckoned from the time so far.
        """
        self.check_cancelled()
        self._furthest = max(self._furthest, min(1.0, fraction if math.isfinite(fraction) else 0.0))
        if self._on_progress is None:
            return
        if eta_s is None and self._furthest >= 0.05:  # before that it would be a guess
            eta_s = (time.monotonic() - self._started) * (1 - self._furthest) / self._furthest
        self._on_progress(Progress(stage, self._furthest, eta_s))

    @property
    def heard(self) -> bool:
        """Whether anybody listens to audio that is handed out early."""
        return self._on_audio is not None

    def audio(self, chunk: Audio) -> None:
        """Hand out finished audio early, in order; for models that can stream."""
        self.check_cancelled()
        if self._on_audio is not None:
            self._on_audio(chunk)

    def check_cancelled(self) -> None:
        """Raises Cancelled (or the error given) after `cancel`, DeadlineExceeded after the deadline."""
        if self._stop.is_set():
            raise self._reason or Cancelled("the request was cancelled")
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise DeadlineExceeded("the work was stopped: it took longer than its deadline allows")

    def cancel(self, reason: str | TonewheelError = "the request was cancelled") -> None:
        """Ask the work to stop at its next step; from any thread, more than once (the first reason stays)."""
        if not self._stop.is_set():
            self._reason = Cancelled(reason) if isinstance(reason, str) else reason
            self._stop.set()

    @property
    def cancelled(self) -> bool:
        return self._stop.is_set()
