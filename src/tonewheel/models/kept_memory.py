"""What a batch frees is kept for the next one."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_TOP_BYTES = 256 * 1024 * 1024
_MAPPED_BYTES = 32 * 1024 * 1024  # the most that glibc takes


def keep_freed() -> None:
    """For a process that computes batch after batch: glibc would return their tensors to the kernel after each, which
    clears the same pages again for the next (of CLAP's some 3,000 a recording, 3 % of its time). They are given back
    when the process has nothing to do (`serving.threads`). Elsewhere nothing is changed."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None  # musl has none
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _TOP_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
