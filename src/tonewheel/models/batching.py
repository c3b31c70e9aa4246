"""Work of several requests computed together.

    batcher = Batcher(embed, most=8)
    outs = batcher.run(windows, check=context.check_cancelled, tell=heard)    # from any thread; blocks

`compute` gets up to `most` items, in which every waiting request takes its turn, one item each: a long file
does not hold up a short one. It is called from `crew` threads (one, if nothing is said), which share what waits.
What comes while they compute makes up the next batches; when nothing was waiting, the first item waits a few
milliseconds for company.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Out = TypeVar("Out")

_LOOK_EVERY_S = 0.1


@dataclass(eq=False)
class _Order(Generic[Item, Out]):
    """What one request wants computed. Items may be made when they are asked for."""

    items: Sequence[Item]
    came_at: float
    news: threading.Event = field(default_factory=threading.Event)  # its own: a batch wakes nobody whom it is not about
    results: dict[int, Out] = field(default_factory=dict)  # by the item's number: two of the crew may be at it
    taken: int = 0
    error: BaseException | None = None
    called_off: bool = False

    @property
    def over(self) -> bool:
        return self.error is not None or len(self.results) == len(self.items)


class Batcher(Generic[Item, Out]):
    """A few threads that compute for all."""

    def __init__(
        self,
        compute: Callable[[list[Item]], Sequence[Out]],
        *,
        most: int,
        crew: int = 1,
        wait_s: float = 0.004,
        name: str = "batcher",
    ) -> None:
        self.batches = 0
        self.items = 0
        self._compute = compute
        self._most = most
        self._wait_s = wait_s
        self._waiting: deque[_Order[Item, Out]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._idle = crew
        # Daemons: work stuck in native code must not keep the process from ending.
        self._crew = [threading.Thread(target=self._work, name=f"{name}-{i}", daemon=True) for i in range(crew)]
        for thread in self._crew:
            thread.start()

    @property
    def others(self) -> bool:
        """For `compute`: whether another of the crew is at work, or will be as soon as it can."""
        return len(self._crew) - self._idle > 1 or bool(self._waiting)

    def run(
        self,
        items: Sequence[Item],
        *,
        check: Callable[[], None] = lambda: None,
        tell: Callable[[int], None] = lambda _done: None,
    ) -> list[Out]:
        """The outcome of each item, in order. `tell` hears how many are done; what `check` raises calls it off.

        Raises what computing raised over these items; those of others cannot spoil them.
        """
        order: _Order[Item, Out] = _Order(items, time.monotonic())
        told = 0
        with self._changed:
            if self._closed:
                raise RuntimeError("the batcher was closed")
            if items:
                self._waiting.append(order)
                self._changed.notify_all()
        try:
            while not order.over:
                if order.news.wait(_LOOK_EVERY_S):
                    order.news.clear()
                check()
                if len(order.results) > told:
                    told = len(order.results)
                    tell(told)
        finally:
            with self._changed:
                order.called_off = True
        if order.error is not None:
            raise order.error
        return [order.results[index] for index in range(len(items))]

    def close(self) -> None:
        """End the threads after what they compute; whoever still waits gets an error."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._crew:
            thread.join(5.0)

    # ── in the threads ──

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    for order in self._waiting:
                        order.error = RuntimeError("the batcher was closed")
                        order.news.set()
                    return
                self._await_company()
                batch = self._take()
                self._idle -= 1
            if batch:
                self._do(batch)
            del batch  # or its items would stay in memory until the next
            with self._changed:
                self._idle += 1

    def _await_company(self) -> None:
        until = min(order.came_at for order in self._waiting) + self._wait_s
        while (left := until - time.monotonic()) > 0 and not self._closed:
            if sum(len(o.items) - o.taken for o in self._waiting) >= self._most:
                return
            self._changed.wait(left)

    def _take(self) -> list[tuple[_Order[Item, Out], int]]:
        """The next items, one of each order in turn: a fair part of them, where more of the crew have time."""
        batch: list[tuple[_Order[Item, Out], int]] = []
        part = math.ceil(sum(len(o.items) - o.taken for o in self._waiting) / self._idle)
        while self._waiting and len(batch) < min(self._most, part):
            order = self._waiting.popleft()
            if order.called_off or order.error is not None:
                continue
            batch.append((order, order.taken))
            order.taken += 1
            if order.taken < len(order.items):
                self._waiting.append(order)
        return batch

    def _do(self, batch: list[tuple[_Order[Item, Out], int]]) -> None:
        try:
            outs: Sequence[Out] = self._compute([order.items[index] for order, index in batch])
            if len(outs) != len(batch):
                raise RuntimeError(f"{len(batch)} items gave {len(outs)} results")
        except Exception as error:
            self._do_apart(batch, error)
            return
        with self._changed:
            self.batches += 1
            self.items += len(batch)
            for (order, index), out in zip(batch, outs, strict=True):
                order.results[index] = out
            for order, _ in batch:
                order.news.set()

    def _do_apart(self, batch: list[tuple[_Order[Item, Out], int]], error: Exception) -> None:
        """A batch that failed is tried again order by order: one bad request must not fail its neighbours."""
        orders: dict[_Order[Any, Any], list[tuple[_Order[Item, Out], int]]] = {}
        for entry in batch:
            orders.setdefault(entry[0], []).append(entry)
        if len(orders) == 1:
            with self._changed:
                (order,) = orders
                order.error = error
                order.news.set()
            return
        for entries in orders.values():
            self._do(entries)
