"""How many threads arithmetic takes."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

from tonewheel.settings import settings


def threads() -> int:
    """As set (TONEWHEEL_THREADS), else the processors this process may use: its affinity, and the container's share of
    their time (cgroup v2), rounded up."""
    chosen = settings().threads
    if chosen is not None:
        return chosen
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # no cgroup, or "max": no limit
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        own = min(own, max(1, math.ceil(int(quota) / int(period))))
    return own
