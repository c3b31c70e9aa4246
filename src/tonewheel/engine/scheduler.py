"""Who runs: requests wait in the order they came, take a free slot, and leave it when they end."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from tonewheel.engine.sequence import Sequence, Stage


class Scheduler:
    """First come, first served, without exception: a large request that does not fit yet holds those behind it back,
    so that none waits forever. `submit` from any thread, the rest from the engine's."""

    def __init__(self, slots: int) -> None:
        self.slots: list[Sequence | None] = [None] * slots
        self._waiting: deque[Sequence] = deque()
        self._lock = threading.Lock()

    def submit(self, sequence: Sequence) -> None:
        with self._lock:
            self._waiting.append(sequence)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        return not self._waiting and not any(self.slots)

    def admit(self, fits: Callable[[Sequence, int], bool]) -> Sequence | None:
        """Give the lowest free slot to the first that waits, if there is one and `fits(sequence, slot)`: is there
        memory for it, beside all that were let in before."""
        with self._lock:
            # Those further back that were cancelled do not wait for their turn to be told.
            for sequence in [s for s in self._waiting if s.cancelled]:
                self._waiting.remove(sequence)
                sequence.end()
            free = next((n for n, held in enumerate(self.slots) if held is None), None)
            if not self._waiting or free is None or not fits(self._waiting[0], free):
                return None
            sequence = self._waiting.popleft()
            sequence.slot, sequence.admitted_at = free, time.monotonic()
            sequence.stage = Stage.PREFILL
            self.slots[free] = sequence
            return sequence

    def of(self, stage: Stage) -> list[Sequence]:
        """Those in a stage, by slot."""
        return [s for s in self.slots if s is not None and s.stage is stage]

    def leave(self, sequence: Sequence) -> None:
        """Its slot is free."""
        self.slots[sequence.slot] = None

    def drain(self) -> list[Sequence]:
        """All that wait, taken out."""
        with self._lock:
            taken = list(self._waiting)
            self._waiting.clear()
        return taken
