"""The model processes that this process started itself: whether they run, how they ended, and their burial."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Collection

from tonewheel.fleet.records import Record, this_process


class Children:
    """By their process ids. One that ended stays a zombie, and its id taken, until somebody polls it. Thread-safe."""

    def __init__(self) -> None:
        self._started: dict[int, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()

    def add(self, child: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._started[child.pid] = child

    def pids(self) -> list[int]:
        with self._lock:
            return list(self._started)

    def ended(self) -> set[int]:
        """Those that have ended and are still known here."""
        with self._lock:
            return {pid for pid, child in self._started.items() if child.poll() is not None}

    def alive(self, record: Record) -> bool:
        """Whether the process of a record runs; that of another fleet, too."""
        child = self._of(record)
        if child is not None:
            return child.poll() is None  # also buries it
        return record.process.alive()

    def exit_code(self, record: Record) -> int | None:
        """None: it runs, or somebody else started it."""
        child = self._of(record)
        return None if child is None else child.poll()

    def forget(self, pids: Collection[int]) -> None:
        """Nobody will ask for them again; one that still runs is kept."""
        with self._lock:
            for pid in pids:
                child = self._started.get(pid)
                if child is not None and child.poll() is not None:
                    del self._started[pid]
                    if child.stdin is not None:
                        child.stdin.close()

    def _of(self, record: Record) -> subprocess.Popen[bytes] | None:
        with self._lock:
            return self._started.get(record.process.pid) if record.owner == this_process() else None
