"""The engine: admit, fill, step, tell, in a thread of its own."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch

from tonewheel.engine.faults import out_of_memory
from tonewheel.engine.model import FrameModel
from tonewheel.engine.request import GenerationRequest
from tonewheel.engine.runner import Runner, Stepped
from tonewheel.engine.scheduler import Scheduler
from tonewheel.engine.sequence import Sequence, Stage
from tonewheel.errors import Cancelled, InvalidRequest, OutOfMemory, RenderFault, TonewheelError

log = logging.getLogger(__name__)

_AHEAD = 8  # steps the host may run ahead of the device; what they drew after an end of stream is thrown away
_REST_AFTER_S = 20.0  # without work for so long, the cache is given back
_SPOILT = (
    "the model computed numbers that are not finite: its weights are damaged, or too large for the type of number they "
    "are kept in; pull them again, or use float32"
)
_PREFILL = {"cpu": 64, "cuda": 2048, "mps": 256}  # positions filled between two steps: running requests go on meanwhile


@dataclass(frozen=True, slots=True)
class Counts:
    """What the engine did since it started, and what it does now."""

    steps: int
    frames: int  # steps summed over the requests that took part
    running: int
    waiting: int
    cache_bytes: int


class Engine:
    """Runs requests of one model, up to `slots` at once. Thread-safe; `close` ends it.

    `cache_limit` bounds the key/value cache in bytes: a request that alone would not fit is refused, one that does
    not fit now waits. `block`: see `Runner`. `prefill` positions of a prompt are filled between two steps.
    """

    def __init__(
        self,
        model: FrameModel[Any],
        slots: int,
        *,
        cache_limit: int | None = None,
        block: bool | None = None,
        prefill: int | None = None,
    ) -> None:
        if slots < 1:
            raise ValueError(f"slots: {slots} is below 1")
        self.model = model
        self.cache_limit = cache_limit
        self._prefill = prefill or _PREFILL.get(model.device.type, 256)
        self._scheduler = Scheduler(slots)
        with torch.inference_mode():
            self._runner = Runner(model, slots, block=block)
        self._pending: deque[Stepped] = deque()
        self._steps = self._frames = 0
        self._closing = False
        self._fault: TonewheelError | None = None  # what ended the thread
        self._work = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ── from any thread ──

    def submit(self, request: GenerationRequest) -> Sequence:
        """Queue a request; it starts when a slot is free. Raises InvalidRequest, OutOfMemory for what can never run."""
        model = self.model
        start = request.start
        if start is not None and (start.ndim != 2 or start.shape[0] != model.codebooks):
            raise InvalidRequest(f"start: codes of shape {tuple(start.shape)}, not ({model.codebooks}, frames)")
        sequence = Sequence(request, model.codebooks, model.delays)
        positions = self._runner.positions_of(sequence)
        if model.max_positions is not None and positions > model.max_positions:
            raise InvalidRequest(
                f"the request needs {positions} positions, the model has {model.max_positions}: ask for less"
            )
        least = model.cache_shape.bytes(2, self._runner.cache.rounded(positions), model.dtype.itemsize)
        if self.cache_limit is not None and least > self.cache_limit:
            raise OutOfMemory(
                f"the request needs {least / 2**20:.0f} MiB for its key/value cache and "
                f"{self.cache_limit / 2**20:.0f} MiB are there: ask for less audio, or free memory on the device"
            )
        with self._work:
            if self._closing:
                raise self._fault or Cancelled("the engine is closed")
            self._scheduler.submit(sequence)
            self._work.notify()
        return sequence

    def counts(self) -> Counts:
        held = [s for s in self._scheduler.slots if s is not None]
        return Counts(self._steps, self._frames, len(held), self._scheduler.waiting, self._runner.cache.bytes)

    def close(self) -> None:
        """End what runs (it raises Cancelled in its owner) and the thread."""
        with self._work:
            self._closing = True
            self._work.notify()
        self._thread.join()

    # ── the engine's thread ──

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                self._serve()
        except Exception as error:  # letting go failed, too: the device is lost
            log.exception("the engine ended by a fault")
            self._fault = _told(error)
        with self._work:
            self._closing = True
        for sequence in [*self._under_way(), *self._scheduler.drain()]:
            sequence.end(self._fault or Cancelled("the engine was closed"))

    def _serve(self) -> None:
        """Until it is closed."""
        if self.model.device.type == "cuda":  # graphs are captured on the thread's own device
            torch.cuda.set_device(self.model.device)
        while True:
            with self._work:
                while self._scheduler.idle and not self._pending and not self._closing:
                    if not self._work.wait(_REST_AFTER_S):
                        self._runner.rest()
                if self._closing:
                    return
            try:
                self._turn()
            except Exception as error:
                log.exception("a step of the engine failed")
                self._fail_all(_told(error))

    def _turn(self) -> None:
        """Let go, let in, fill, step, tell."""
        scheduler = self._scheduler
        for sequence in [s for s in scheduler.slots if s is not None and s.cancelled]:
            self._leave(sequence)
            sequence.end()
        while (newcomer := scheduler.admit(self._fits)) is not None:  # one by one: each takes memory
            with self._only_ending(newcomer):
                self._runner.admit(newcomer)
        self._fill()
        running = scheduler.of(Stage.RUNNING)
        if running:
            self._pending.append(self._runner.step(running))
            self._steps += 1
            self._frames += len(running)
            for sequence in running:
                if sequence.step >= sequence.last_step:  # its last step is under way: its slot can be used again
                    self._leave(sequence)
        elif scheduler.waiting and not any(scheduler.slots):
            self._runner.rest()  # the first in line waits for memory that nobody uses
        self._tell(everything=not running)

    def _fits(self, sequence: Sequence, slot: int) -> bool:
        return self.cache_limit is None or self._runner.bytes_with(sequence, slot) <= self.cache_limit

    def _fill(self) -> None:
        """One piece of one prompt, the oldest first; those with nothing to fill start at once."""
        filling = sorted(self._scheduler.of(Stage.PREFILL), key=lambda s: s.admitted_at or 0.0)
        worked = False
        for sequence in filling:
            empty = max(sequence.prefixes) == 0
            if worked and not empty:
                continue
            worked = worked or not empty
            with self._only_ending(sequence):
                if self._runner.prefill(sequence, self._prefill):
                    self._runner.start(sequence)
                    sequence.stage = Stage.RUNNING

    def _tell(self, everything: bool) -> None:
        """Hand out what the device has finished; wait for it only when too far ahead or nothing else is to do."""
        while self._pending:
            first = self._pending[0]
            if first.done is not None and not first.done.query():  # type: ignore[no-untyped-call]
                if not everything and len(self._pending) <= _AHEAD:
                    return
                first.done.synchronize()
            self._pending.popleft()
            told = zip(first.sequences, first.steps, first.tokens, first.spoilt.tolist(), strict=True)
            for sequence, step, tokens, spoilt in told:
                if spoilt and not sequence.ended:
                    self._leave(sequence)
                    sequence.end(RenderFault(_SPOILT))
                    continue
                if not sequence.ended and self.model.ends(tokens):
                    self._leave(sequence)
                    sequence.end()
                    continue
                sequence.accept(step, tokens)
                if step + 1 >= sequence.last_step:
                    sequence.end()

    def _leave(self, sequence: Sequence) -> None:
        if self._scheduler.slots[sequence.slot] is sequence:
            self._scheduler.leave(sequence)
            self._runner.release(sequence)

    @contextlib.contextmanager
    def _only_ending(self, sequence: Sequence) -> Iterator[None]:
        """A fault within ends this request, not its neighbours."""
        try:
            yield
        except Exception as error:
            log.exception("a request could not be started")
            self._leave(sequence)
            sequence.end(_told(error))

    def _under_way(self) -> list[Sequence]:
        """Those with a slot, and those that left theirs and whose last steps were not told yet."""
        held = [s for s in self._scheduler.slots if s is not None]
        return held + [s for stepped in self._pending for s in stepped.sequences]

    def _fail_all(self, error: TonewheelError) -> None:
        under_way = self._under_way()
        self._pending.clear()
        for sequence in under_way:  # first of all: letting go may fail, too
            sequence.end(error)
        for sequence in under_way:
            self._leave(sequence)


def _told(error: Exception) -> TonewheelError:
    if isinstance(error, TonewheelError):
        return error
    if out_of_memory(error):
        return OutOfMemory("the device ran out of memory: ask for less audio, fewer variations, or free memory on it")
    return RenderFault(f"a step of the model failed: {type(error).__name__}: {error}")
