"""The model in this process: loading, its slots, the threads it works in, and its end.

All methods belong to the event loop's thread; only the jobs themselves run elsewhere.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Literal, TypeVar

from tonewheel.errors import NotReady, ServiceBusy, TonewheelError
from tonewheel.models.base import Card, Family, Model, Progress, RunContext
from tonewheel.serving.faults import as_tonewheel, new_error_id
from tonewheel.serving.threads import Threads

log = logging.getLogger(__name__)
State = Literal["loading", "ready", "failed", "draining"]
T = TypeVar("T")


class Host:
    """One model and its slots. `state` tells whether it takes work."""

    def __init__(self, family: Family, card: Card) -> None:
        self.family = family
        self.card = card
        self.state: State = "loading"
        self.fault: TonewheelError | None = None  # why loading failed
        self.fault_id = new_error_id()  # what the log has it under, once there is one
        self.load_seconds: float | None = None
        self.load_progress: Progress | None = None
        self.slots = card.concurrency
        self._model: Model[Any] | None = None
        self._threads = Threads(card.concurrency, name=f"model-{card.id}")
        self._running: dict[RunContext, Progress | None] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._load_context = RunContext(on_progress=self._tell_load)

    # ── loading ──

    async def load(self) -> None:
        """Make and load the model in its thread. Never raises: `state` and `fault` tell."""
        started = time.monotonic()
        try:
            self._model = await asyncio.wrap_future(self._threads.submit(self._load))
        except Exception as error:  # whatever a model may raise: it is told by /readyz and in the log
            self.fault = as_tonewheel(error, self.fault_id)
            log.error(
                "error id %s: model %s could not be loaded: %s: %s", self.fault_id, self.card.id,
                type(error).__name__, error, exc_info=error,
            )  # fmt: skip
            self._enter("failed")
            return
        self.load_seconds = time.monotonic() - started
        self._enter("ready")
        log.info("model %s is ready after %.1f s", self.card.id, self.load_seconds)

    def _load(self) -> Model[Any]:
        model = self.family.create(self.card)
        model.load(self._load_context)
        # What is there now stays until the end: from here on a collection looks at what requests left only. Over the
        # hundred thousands of objects of torch and transformers it held up everybody's work, and /health, for a second.
        gc.collect()
        gc.freeze()
        return model

    def _tell_load(self, progress: Progress) -> None:
        self.load_progress = progress

    def _enter(self, state: State) -> None:
        if self.state != "draining":  # from there no way leads back
            self.state = state

    @property
    def model(self) -> Model[Any]:
        """The loaded model. Raises NotReady, saying why it is not there."""
        if self.state == "failed" and self.fault is not None:
            failed = NotReady(f"model {self.card.id} could not be loaded: {self.fault.message}", retry_after_s=30)
            failed.retryable = self.fault.retryable
            raise failed
        if self.state == "draining":
            raise self._stopping()
        if self._model is None:
            raise NotReady(f"model {self.card.id} is loading: try again soon", retry_after_s=2)
        return self._model

    # ── slots ──

    @property
    def busy(self) -> int:
        """Requests running now; one that was cancelled counts until it has really stopped."""
        return len(self._running)

    def ensure_room(self) -> None:
        """Raises NotReady or ServiceBusy when a request would not be taken now."""
        _ = self.model
        if self.busy >= self.slots:
            limit = "one request" if self.slots == 1 else f"{self.slots} requests"
            raise ServiceBusy(
                f"{self.card.id} runs {limit} at once and is busy: try again, or send it through the gateway, "
                "which queues",
                retry_after_s=self._soonest_s(),
            )

    def start(
        self, job: Callable[[], T], context: RunContext, ended: Callable[[Future[T]], None] = lambda _: None
    ) -> asyncio.Future[T]:
        """Take a slot and run `job` in a worker thread. Raises NotReady or ServiceBusy, at once.

        The slot is free again when the job has ended, not when somebody stopped waiting for it; `ended` is called
        before that: who sees the slot free sees what was counted of the job.
        """
        self.ensure_room()
        self._running[context] = None
        self._idle.clear()
        loop = asyncio.get_running_loop()
        future = self._threads.submit(job)
        future.add_done_callback(lambda done: loop.call_soon_threadsafe(self._release, context, done, ended))
        return asyncio.wrap_future(future)

    def note(self, context: RunContext, progress: Progress) -> None:
        """Remember how far a running request is: it decides what a refused one is told to wait."""
        if context in self._running:
            self._running[context] = progress

    def _stopping(self) -> NotReady:
        return NotReady("the service is stopping: send the request elsewhere or again later", retry_after_s=5)

    def _release(self, context: RunContext, future: Future[T], ended: Callable[[Future[T]], None]) -> None:
        ended(future)
        self._running.pop(context, None)
        if not self._running:
            self._idle.set()

    def _soonest_s(self) -> float:
        etas = [p.eta_s for p in self._running.values() if p is not None and p.eta_s is not None]
        return min(60.0, max(1.0, math.ceil(min(etas)))) if etas else 2.0

    # ── the end ──

    def begin_drain(self) -> None:
        """Take no more work; a load under way is called off."""
        self.state = "draining"
        self._load_context.cancel("the service is stopping")

    async def idle(self, timeout_s: float) -> bool:
        """Wait until nothing runs; False when it still does after `timeout_s`."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def stop_all(self) -> None:
        """Tell what runs to stop; its callers get a 503 that says they may try elsewhere."""
        for context in list(self._running):
            context.cancel(self._stopping())

    def close(self) -> bool:
        """Release the model. Returns False when work is stuck and the process must be ended hard."""
        if self._running:
            return False
        if self._model is not None:
            self._model.release()
            self._model = None
        return self._threads.close()
