"""A request on its way through the engine, and the handle its owner holds."""

from __future__ import annotations

import threading
import time
from enum import Enum

import torch

from tonewheel.engine import pattern
from tonewheel.engine.request import GenerationRequest
from tonewheel.errors import Cancelled


class Stage(Enum):
    WAITING = "waiting"
    PREFILL = "prefill"
    RUNNING = "running"
    ENDED = "ended"


class Sequence:
    """Written by the engine's thread; read, waited for and cancelled from any."""

    def __init__(self, request: GenerationRequest, codebooks: int, delays: tuple[int, ...]) -> None:
        self.request = request
        self.delays = delays
        self.stage = Stage.WAITING
        self.slot = -1
        self.branches = 1
        self.filled = 0  # positions of the prefix that are filled
        self.prefixes: tuple[int, ...] = (0,)  # positions before the first step, for each branch
        self.step = request.started  # the next one
        self.last_step = pattern.steps_of(request.started + request.frames, delays)
        self.submitted_at = time.monotonic()
        self.admitted_at: float | None = None
        self.ended_at: float | None = None
        self._drawn = torch.zeros(
            (codebooks, self.last_step), dtype=torch.int64
        )  # what was drawn, by step, on the host
        if request.start is not None:
            for k, delay in enumerate(delays):  # those of the last columns that the prompt reaches are read back too
                self._drawn[k, delay : delay + request.started] = request.start[k]
        self._ready = 0  # new frames that are whole
        self._error: BaseException | None = None
        self._cancel = False
        self._news = threading.Condition()

    # ── the owner's side ──

    @property
    def ready(self) -> int:
        """New frames that are whole."""
        return self._ready

    @property
    def ended(self) -> bool:
        return self.stage is Stage.ENDED

    def wait(self, frames: int, timeout: float | None = None) -> int:
        """Wait until so many new frames are whole, or it ended, or the time is up → frames that are whole.

        Raises what ended it, if that was not its own end.
        """
        with self._news:
            self._news.wait_for(lambda: self._ready >= frames or self.ended, timeout)
            if self._error is not None:
                raise self._error
            return self._ready

    def result(self, timeout: float | None = None) -> torch.Tensor:
        """All new codes [K, frames], waiting for the end. Raises what ended it, TimeoutError."""
        self.wait(self.request.frames, timeout)
        if not self.ended and self._ready < self.request.frames:
            raise TimeoutError("the generation has not ended yet")
        return self.codes(0, self._ready)

    def codes(self, first: int, last: int) -> torch.Tensor:
        """New frames first … last - 1 as codes [K, last - first], int64 on the host; they must be ready."""
        if not 0 <= first <= last <= self._ready:
            raise ValueError(f"frames {first} to {last} are not ready: there are {self._ready}")
        begun = self.request.started
        return pattern.gathered(self._drawn, self.delays, begun + first, begun + last)

    def cancel(self) -> None:
        """Stop it. Its slot is free after the step under way; nothing happens if it has ended."""
        self._cancel = True

    # ── the engine's side ──

    @property
    def cancelled(self) -> bool:
        return self._cancel

    def accept(self, step: int, tokens: torch.Tensor) -> None:
        """The tokens [K] of a step, on the host."""
        if self.ended:
            return
        self._drawn[:, step] = tokens
        ready = min(pattern.frames_of(step + 1, self.delays) - self.request.started, self.request.frames)
        if ready > self._ready:
            with self._news:
                self._ready = ready
                self._news.notify_all()

    def end(self, error: BaseException | None = None) -> None:
        """Over: by its own end, with the frames it has, or by an error. Later calls change nothing."""
        with self._news:
            if self.ended:
                return
            self.stage, self.ended_at = Stage.ENDED, time.monotonic()
            self._error = error or (Cancelled("the request was cancelled") if self._cancel and self._short else None)
            self._news.notify_all()

    @property
    def _short(self) -> bool:
        return self._ready < self.request.frames
