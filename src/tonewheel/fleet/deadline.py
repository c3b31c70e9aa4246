"""How long a call is waited for, and whether it was called off meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from tonewheel.errors import Cancelled, DeadlineExceeded, ServiceBusy

_POLL_S = 0.05  # between two looks at `cancelled`

Made = TypeVar("Made")


class Deadline:
    """The deadline of a call, and whether it was called off."""

    def __init__(self, limit_s: float | None, cancelled: Callable[[], bool] | None) -> None:
        self._limit_s = limit_s
        self._until = None if limit_s is None else time.monotonic() + limit_s
        self._cancelled = cancelled

    def check(self) -> None:
        """Raises Cancelled or DeadlineExceeded."""
        if self._cancelled is not None and self._cancelled():
            raise Cancelled("the request was cancelled")
        if self._until is not None and time.monotonic() > self._until:
            raise DeadlineExceeded(f"the model did not answer within {self._limit_s:g} s: the work was stopped")

    def pause(self, seconds: float, busy: ServiceBusy | None) -> None:
        """Wait before the next try; raises `busy` itself when the deadline passes before a slot was free."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                self.check()
            except DeadlineExceeded:
                raise (busy or DeadlineExceeded("the model did not answer in time")) from None
            time.sleep(min(_POLL_S, max(0.0, end - time.monotonic())))


async def within(work: Coroutine[Any, Any, Made], deadline: Deadline) -> Made:
    """Await `work`, looking at the deadline meanwhile; giving up closes the connection, which stops the service."""
    task = asyncio.create_task(work)
    try:
        while not task.done():
            deadline.check()
            await asyncio.wait({task}, timeout=_POLL_S)
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
