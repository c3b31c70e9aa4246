"""Stopping a process for a while, for certain: SIGSTOP is only a request, and until it is met work goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import psutil


def freeze(pid: int) -> None:
    """Stop all threads of a process; when this returns none of them does anything any more."""
    os.kill(pid, signal.SIGSTOP)
    until = time.monotonic() + 120
    while not _stands_still(pid):
        assert time.monotonic() < until, "it does not stop"
        time.sleep(0.002)


def thaw(pid: int) -> None:
    os.kill(pid, signal.SIGCONT)


def _stands_still(pid: int) -> bool:
    if not sys.platform.startswith("linux"):
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    states = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has just ended
            # Its name may hold blanks and brackets; its state comes after them.
            states.append((task / "stat").read_text(errors="replace").rpartition(")")[2].split()[0])
    return all(state in "TtZX" for state in states)
