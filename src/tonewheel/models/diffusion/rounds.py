"""Requests with equal recipes rendered together, in one call of the pipeline: a round.

    rounds = Rounds(render, most=lambda recipe: 8)
    outs = rounds.run(recipe, rows, context)            # from any thread; blocks; one out a row

`render(recipe, rows, round)` is called from one thread only. A round takes the rows of all requests that wait with
the recipe of the one that came first, up to `most` of them. It starts at once; those who come with the same recipe
during its first step are let in by starting it again, which costs that step and no waiting. Whoever is cancelled
leaves: the round goes on for the others, and stops where nobody is left.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from tonewheel.engine.faults import out_of_memory
from tonewheel.errors import TonewheelError
from tonewheel.models.base import RunContext
from tonewheel.models.diffusion.recipe import Recipe

RowT = TypeVar("RowT")
Out = TypeVar("Out")

RENDERED = 0.9  # share of a request's work when all is rendered: encoding what was made is the rest
_TEXT, _STEPS = 0.02, 0.85  # where in a round steps begin and end; decoding is the rest
_LOOK_EVERY_S = 0.05
_LEAST_STEPS = 4  # of a round that is started again: with fewer, a step is too much of it


class Stopped(Exception):
    """Ends a call of the pipeline that nobody waits for any more."""


class _Company(Exception):
    """Ends a call in its first step, to begin it again with more rows."""


@dataclass(eq=False)
class _Order(Generic[RowT, Out]):
    """What one request wants rendered."""

    recipe: Recipe
    rows: Sequence[RowT]
    context: RunContext
    outs: dict[int, Out] = field(default_factory=dict)
    left: deque[int] = field(default_factory=deque)  # rows that are in no round yet
    error: BaseException | None = None
    gone: bool = False  # its caller was told to stop

    @property
    def over(self) -> bool:
        return self.error is not None or len(self.outs) == len(self.rows)

    def tell(self, stage: str, rows: int, share: float, eta_s: float | None) -> None:
        """`share` of a round with `rows` of its rows is done."""
        fraction = RENDERED * (len(self.outs) + rows * share) / len(self.rows)
        self._hear(lambda: self.context.progress(stage, fraction, eta_s))

    def look(self) -> None:
        self._hear(self.context.check_cancelled)

    def _hear(self, call: Callable[[], None]) -> None:
        try:
            call()
        except TonewheelError as error:
            # Its frames, and those that called them, would hold what the networks work on for as long as it is kept.
            self.gone, self.error = True, error.with_traceback(None)


_Entry = tuple[_Order[RowT, Out], int]


class Round(Generic[RowT, Out]):
    """One call under way: what `Watched` tells. `step_s` and `decode_s` are what was measured of it."""

    def __init__(self, entries: list[_Entry[RowT, Out]], company: Callable[[], bool], decode_s: float | None) -> None:
        self._entries, self._company = entries, company
        self._rows = {order: sum(1 for o, _ in entries if o is order) for order, _ in entries}
        self._expected_decode_s = decode_s or 0.0
        self.began = time.monotonic()
        self._first = self._last = 0.0  # when the first and the latest step ended
        self.steps = 0

    @property
    def step_s(self) -> float | None:
        """Seconds a step, the first left out where there are more: it also warms up."""
        if self.steps > 1:
            return (self._last - self._first) / (self.steps - 1)
        return self._first - self.began if self.steps else None

    @property
    def decode_s(self) -> float | None:
        """Seconds since the last step: decoding, once the call has ended."""
        return time.monotonic() - self._last if self.steps else None

    def check(self) -> None:
        """Raises Stopped when nobody waits for it any more."""
        for order in self._rows:
            if not order.gone:
                order.look()
        if all(order.gone for order in self._rows):
            raise Stopped

    def step(self, done: int, total: int) -> None:
        """After each step of the scheduler. Raises Stopped."""
        now = time.monotonic()
        self.steps, self._last = done, now
        if done == 1:
            self._first = now
        share = _TEXT + (_STEPS - _TEXT) * done / total
        self._tell("denoise", share, (total - done) * (self.step_s or 0.0) + self._expected_decode_s, total)
        self.check()
        if done == 1 and total >= _LEAST_STEPS and self._company():
            raise _Company

    def decoding(self, share: float) -> None:
        """Before each part of the decoder. Raises Stopped."""
        self.check()
        if self.steps and share >= self._told_decoding + 0.02:
            self._told_decoding = share
            left = max(0.0, self._expected_decode_s - (time.monotonic() - self._last))
            self._tell("decode", _STEPS + (1 - _STEPS) * share, left or None, self.steps)

    _told_decoding = -1.0

    def _tell(self, stage: str, share: float, eta_s: float | None, total: int) -> None:
        whole = total * (self.step_s or 0.0) + self._expected_decode_s
        for order, rows in self._rows.items():
            if order.gone:
                continue
            rounds_after = -(-len(order.left) // rows)
            order.tell(stage, rows, share, None if eta_s is None else eta_s + rounds_after * whole)


class Rounds(Generic[RowT, Out]):
    """One thread that renders for all."""

    def __init__(
        self,
        render: Callable[[Recipe, list[RowT], Round[RowT, Out]], Sequence[Out]],
        *,
        most: Callable[[Recipe], int],
        decode_s: Callable[[Recipe, int], float | None] = lambda _recipe, _rows: None,
        stopped: Callable[[], None] = lambda: None,
        name: str = "rounds",
    ) -> None:
        """`most` rows of a recipe fit into a round; `decode_s` guesses how long decoding takes; `stopped` is called
        after a round that did not end by itself, when nothing of it is held any more."""
        self.rounds = 0  # that were rendered to their end
        self._render, self._most, self._decode_s, self._stopped = render, most, decode_s, stopped
        self._waiting: deque[_Order[RowT, Out]] = deque()
        self._current: list[_Entry[RowT, Out]] = []
        self._changed = threading.Condition()
        self._closed = False
        # A daemon: work stuck in native code must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        return bool(self._current)

    def run(self, recipe: Recipe, rows: Sequence[RowT], context: RunContext) -> list[Out]:
        """The outcome of each row, in order. Raises what rendering raised, and what ends `context`.

        Where a round was rendered for this request alone, a cancel is told when it has really stopped.
        """
        order: _Order[RowT, Out] = _Order(recipe, rows, context, left=deque(range(len(rows))))
        with self._changed:
            if self._closed:
                raise RuntimeError("the rounds were closed")
            self._waiting.append(order)
            self._changed.notify_all()
            while not order.over:
                self._changed.wait(_LOOK_EVERY_S)
                if not order.over:
                    order.look()
            if order.gone:
                self._changed.wait_for(lambda: self._closed or not self._alone_at_work(order))
        if order.error is not None:
            raise order.error
        return [order.outs[n] for n in range(len(rows))]

    def close(self) -> None:
        """End the thread after its round; whoever still waits gets an error."""
        with self._changed:
            self._closed = True
            for order in [*self._waiting, *(order for order, _ in self._current)]:
                order.error = order.error or RuntimeError("the rounds were closed")
                order.gone = True
            self._changed.notify_all()
        self._thread.join(10.0)

    def _alone_at_work(self, order: _Order[RowT, Out]) -> bool:
        others = {o for o, _ in self._current}
        return order in others and all(o.gone for o in others)

    # ── in the thread ──

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                entries = self._current = self._taken()
            if entries:
                try:
                    self._do(entries)
                except Exception as error:  # of our own: whoever waits hears of it, and the thread goes on
                    self._fail(entries, error)
            with self._changed:
                self._current = []
                self._changed.notify_all()
            del entries

    def _taken(self) -> list[_Entry[RowT, Out]]:
        """`_take`, whose faults are everybody's who waits."""
        try:
            return self._take()
        except Exception as error:
            waiting, self._waiting = self._waiting, deque()
            self._fail([(order, 0) for order in waiting], error)
            return []

    def _take(self) -> list[_Entry[RowT, Out]]:
        """The next round: rows of all who wait with the recipe of the first, in the order they came."""
        self._waiting = deque(order for order in self._waiting if not order.gone and order.error is None)
        if not self._waiting:
            return []
        recipe = self._waiting[0].recipe
        most = max(1, self._most(recipe))
        entries: list[_Entry[RowT, Out]] = []
        for order in self._waiting:
            while order.recipe == recipe and order.left and len(entries) < most:
                entries.append((order, order.left.popleft()))
        self._waiting = deque(order for order in self._waiting if order.left)
        return entries

    def _company(self, entries: list[_Entry[RowT, Out]]) -> bool:
        """Whether somebody waits who could have been in this round."""
        recipe = entries[0][0].recipe
        if len(entries) >= self._most(recipe):
            return False
        with self._changed:
            return any(o.recipe == recipe and not o.gone for o in self._waiting)

    def _put_back(self, entries: list[_Entry[RowT, Out]]) -> None:
        with self._changed:
            for order, index in reversed(entries):
                if order not in self._waiting:
                    self._waiting.appendleft(order)
                order.left.appendleft(index)

    def _do(self, entries: list[_Entry[RowT, Out]]) -> None:
        recipe = entries[0][0].recipe
        rows = [order.rows[index] for order, index in entries]
        round_ = Round(entries, lambda: self._company(entries), self._decode_s(recipe, len(rows)))
        failed: Exception | None = None
        try:
            outs = self._render(recipe, rows, round_)
        except (Stopped, _Company) as end:
            _forget(end)
            if isinstance(end, _Company):
                self._put_back(entries)
            failed = end.with_traceback(None)  # with it, this frame and the error would hold each other
        except Exception as error:
            _forget(error)
            failed = error
        if failed is None:
            self._hand_out(entries, outs)
            return
        self._stopped()
        if not isinstance(failed, (Stopped, _Company)):
            self._do_apart(entries, failed)

    def _hand_out(self, entries: list[_Entry[RowT, Out]], outs: Sequence[Out]) -> None:
        if len(outs) != len(entries):
            self._fail(entries, RuntimeError(f"{len(entries)} rows gave {len(outs)} waveforms"))
            return
        self.rounds += 1
        with self._changed:
            for (order, index), out in zip(entries, outs, strict=True):
                order.outs[index] = out
            self._changed.notify_all()

    def _do_apart(self, entries: list[_Entry[RowT, Out]], error: Exception) -> None:
        """A round that failed is rendered again in halves where memory was short, else request by request: a bad one
        must not fail its neighbours."""
        if out_of_memory(error) and len(entries) > 1:
            half = len(entries) // 2
            parts = [entries[:half], entries[half:]]
        else:
            orders: dict[_Order[RowT, Out], list[_Entry[RowT, Out]]] = {}
            for entry in entries:
                orders.setdefault(entry[0], []).append(entry)
            parts = list(orders.values())
        if len(parts) == 1:
            self._fail(entries, error)
            return
        for part in parts:
            if not all(order.gone or order.error for order, _ in part):
                self._do(part)

    def _fail(self, entries: list[_Entry[RowT, Out]], error: BaseException) -> None:
        with self._changed:
            for order, _ in entries:
                order.error = order.error or error
            self._changed.notify_all()


def _forget(error: BaseException) -> None:
    """Let go of what the frames of an ended call hold: latents of gigabytes, perhaps."""
    seen: Any = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__context__
