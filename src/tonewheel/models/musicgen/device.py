"""Where MusicGen runs, in which type, and how much memory is left for keys and values there."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil
import torch

from tonewheel.settings import settings

_SHARE = 0.8  # of what is free after loading; the rest is for samples, encodings and other programs
_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def best_device() -> torch.device:
    """A GPU that torch can use (ROCm calls itself cuda, too), else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def best_type(device: torch.device) -> torch.dtype:
    """As set; bfloat16 on a GPU, float32 on a CPU (where half precision is slower)."""
    chosen = settings().musicgen_dtype
    if chosen != "auto":
        return _TYPES[chosen]
    return torch.float32 if device.type == "cpu" else torch.bfloat16


def cache_limit(device: torch.device) -> int:
    """Bytes that the key/value cache of all requests may take: as set, or most of what is free now."""
    chosen = settings().musicgen_cache_mb
    if chosen is not None:
        return round(chosen * 1e6)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else _free_ram()
    return round(_SHARE * free)


def _free_ram() -> int:
    """What the system can give without swapping, within the container's limit (cgroup v2)."""
    free = int(psutil.virtual_memory().available)
    with contextlib.suppress(OSError, ValueError):  # no cgroup, or "max"
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        free = min(free, limit - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    return max(0, free)
