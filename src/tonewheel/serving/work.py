"""One request at work: its worker thread, its deadline, and what is heard of it meanwhile."""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from tonewheel import telemetry
from tonewheel.audio.formats import Format
from tonewheel.errors import DeadlineExceeded
from tonewheel.models.base import Audio, Estimate, Metadata, Model, ModelRequest, Progress, RunContext, WorkRoute
from tonewheel.models.clock import longer_if_forced
from tonewheel.serving.answer import Answer, encode_files
from tonewheel.serving.host import Host
from tonewheel.serving.metrics import Metrics
from tonewheel.telemetry import TraceContext

T = TypeVar("T")
ENCODE_FROM = 0.9  # models tell their own work as a whole; encoding what they made comes after it
_LEAST_BETWEEN_S = 0.05  # progress told more often is told as the latest of each stage only
_MOST_UNTOLD = 64  # stages; a model that invents a name a step must not fill the memory of a slow listener's work


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asked: the ids of this request."""

    request_id: str
    trace: TraceContext


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done: the family's request, made from `body` as sent to `route`, and the audio wanted."""

    request: ModelRequest
    body: ModelRequest
    route: WorkRoute
    audio_format: Format | None  # None = as the model says
    bits: int = 16  # of lossless audio
    expected: Estimate | None = None  # None = not known
    streamed: bool = True  # audio is handed on as it is made


def deadline_seconds(request: ModelRequest, least_s: float, card_s: float | None) -> float:
    """max(configured, 5 × duration + 30 s), from design.md; a model may need a longer least one."""
    return max(least_s, card_s or 0.0, 5 * request.audio_seconds() + 30)


class Work:
    """A request that has taken a slot. `await work.answer()` or iterate `work.news()` first, then answer."""

    def __init__(self, host: Host, metrics: Metrics, order: Order, caller: Caller, least_deadline_s: float) -> None:
        """Takes the slot and starts. Raises NotReady or ServiceBusy."""
        self._host, self._metrics, self._caller = host, metrics, caller
        self._loop = asyncio.get_running_loop()
        limit_s = deadline_seconds(order.request, least_deadline_s, host.card.deadline_s)
        self._limit_s = longer_if_forced(limit_s, order.request, order.expected)
        self._latest: Progress | None = None
        self._untold: dict[str, Progress] = {}  # stage → the latest of it, in the order they were told
        self._lock = threading.Lock()
        self._chunks: deque[Audio] = deque()
        self._news = asyncio.Event()
        self._waking = False
        # Weak: a context that held its work would be a circle around the files of the request and of the answer, and
        # stay until a whole collection (some 500 requests later, each with its megabytes).
        self.context = RunContext(
            deadline=time.monotonic() + self._limit_s,
            on_progress=_weak(self._tell),
            on_audio=_weak(self._hear) if order.streamed else None,
            request_id=caller.request_id,
        )
        self._model = host.model
        self._started = time.monotonic()
        # The order goes with the job and ends with it: an error that is told holds this, and would hold its files.
        self._future = host.start(partial(self._run, order), self.context, self._ended)
        self._future.add_done_callback(lambda _: self._news.set())

    # ── for whoever waits ──

    async def answer(self, gone: Awaitable[Any] | None = None) -> Answer | None:
        """What was made; None when the client went away (`gone` ended) before.

        Raises what the work raised, DeadlineExceeded at the deadline. In every case the work is told to stop.
        """
        leaving = None if gone is None else asyncio.ensure_future(gone)
        waiting: set[asyncio.Future[Any]] = {self._future, *([leaving] if leaving is not None else [])}
        try:
            remaining = max(0.0, self._limit_s - (time.monotonic() - self._started))
            done, _ = await asyncio.wait(waiting, timeout=remaining, return_when=asyncio.FIRST_COMPLETED)
            if self._future in done:
                return self._future.result()
            if done:
                return None
            raise self._too_late()
        finally:
            self.context.cancel("the client went away")
            if leaving is not None:
                leaving.cancel()

    async def news(self, heartbeat_s: float) -> AsyncIterator[Progress | Audio | None]:
        """Progress and audio chunks until the work ends; None = a heartbeat.

        The last progress of every stage is always told; what came before it is left out where it came too fast.
        """
        while not self._future.done():
            if not await self._wait(heartbeat_s):
                yield None
            while self._chunks:
                yield self._chunks.popleft()
            if untold := self._take_untold():
                for progress in untold:
                    yield progress
                await asyncio.wait({self._future}, timeout=_LEAST_BETWEEN_S)
        while self._chunks:
            yield self._chunks.popleft()
        for progress in self._take_untold():
            yield progress

    def _take_untold(self) -> list[Progress]:
        with self._lock:
            untold, self._untold = self._untold, {}
        return list(untold.values())

    async def _wait(self, timeout_s: float) -> bool:
        """Until there is news or an end (True); False when nothing came in `timeout_s`. Raises DeadlineExceeded."""
        remaining = self._limit_s - (time.monotonic() - self._started)
        if remaining <= 0:
            raise self._too_late()
        try:
            # Not wait_for: on Python 3.11 it swallows a cancel that comes at the moment of the news.
            async with asyncio.timeout(min(timeout_s, remaining)):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()
        return True

    def cancel(self, reason: str) -> None:
        self.context.cancel(reason)

    def _too_late(self) -> DeadlineExceeded:
        self.context.cancel("its deadline passed")
        return DeadlineExceeded(
            f"the work took longer than {self._limit_s:.0f} s and was stopped: ask for less, or raise "
            "TONEWHEEL_DEADLINE_S"
        )

    # ── in the worker thread ──

    def _run(self, order: Order) -> Answer:
        context = self.context
        attributes = {
            telemetry.OPERATION: telemetry.GENERATE,
            telemetry.PROVIDER: "tonewheel",
            telemetry.REQUEST_MODEL: self._host.card.id,
            telemetry.OUTPUT_TYPE: "audio" if self._host.card.sample_rate else "json",
            telemetry.REQUEST_ID: self._caller.request_id,
            telemetry.INPUT_CONTENT: telemetry.content(partial(_content, order.body)),
        }
        name = f"{telemetry.GENERATE} {self._host.card.id}"
        with telemetry.span(name, parent=self._caller.trace, attributes=attributes) as span:
            context.check_cancelled()
            result = self._model.run(order.request, context)
            fields, audio = encode_files(result, order.audio_format, self._encoding, bits=order.bits)
            elapsed = time.monotonic() - self._started
            metadata = self._metadata(order.request.client_job_id, result.seed, result.duration_s, elapsed)
            span.set(telemetry.REQUEST_SEED, result.seed)
            span.set(telemetry.DURATION_S, result.duration_s)
            span.set(telemetry.REAL_TIME, metadata["real_time_factor"])
        body = fields | dict.fromkeys(self._host.family.metadata_keys, metadata)
        body = order.route.to_response(order.body, body)
        return Answer(body, audio, result.seed, result.duration_s, metadata)

    def _encoding(self, fraction: float) -> None:
        self.context.progress("encode", ENCODE_FROM + (1 - ENCODE_FROM) * fraction)

    def _metadata(
        self, client_job_id: str | None, seed: int | None, duration_s: float | None, elapsed_s: float
    ) -> dict[str, Any]:
        model: Model[Any] = self._model
        return Metadata(
            client_job_id=client_job_id,
            trace_id=self._caller.trace.trace_id,
            span_id=self._caller.trace.span_id,
            request_id=self._caller.request_id,
            model=model.card.id,
            revision=model.card.revision or None,
            seed=seed,
            duration_s=duration_s,
            elapsed_s=round(elapsed_s, 4),
            real_time_factor=round(elapsed_s / duration_s, 4) if duration_s else None,
            device=model.device,
            dtype=model.dtype,
        ).model_dump()

    def _tell(self, progress: Progress) -> None:
        self._latest = progress
        with self._lock:
            self._untold.pop(progress.stage, None)  # a stage come back to stands where it was last
            self._untold[progress.stage] = progress
            if len(self._untold) > _MOST_UNTOLD:
                del self._untold[next(iter(self._untold))]
        self._wake()

    def _hear(self, chunk: Audio) -> None:
        self._chunks.append(chunk)
        self._wake()

    def _wake(self) -> None:
        # One call into the loop until it was heard: a model that tells a thousand steps a second floods nobody.
        if not self._waking:
            self._waking = True
            self._loop.call_soon_threadsafe(self._woken)

    def _woken(self) -> None:
        self._waking = False
        if self._latest is not None:
            self._host.note(self.context, self._latest)
        self._news.set()

    def _ended(self, future: Future[Answer]) -> None:
        elapsed = time.monotonic() - self._started
        error = None if future.cancelled() else future.exception()
        duration = None if error or future.cancelled() else future.result().duration_s
        self._metrics.worked(self._host.card.id, elapsed, duration, error)


def _weak(method: Callable[[T], None]) -> Callable[[T], None]:
    """`method` as long as there is anybody to tell."""
    held = weakref.WeakMethod(method)

    def call(value: T) -> None:
        if (alive := held()) is not None:
            alive(value)

    return call


def _content(body: ModelRequest) -> str:
    """The request as text for a trace that may hold it; files sent with it are left out."""
    files = {name for name in type(body).model_fields if isinstance(getattr(body, name), bytes)}
    return body.model_dump_json(exclude_none=True, exclude=files)[:20_000]
