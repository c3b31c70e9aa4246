"""How much memory a model may still take on its device."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    import torch


def free_bytes(device: torch.device) -> int:
    """Free on a GPU, or what the system can give without swapping, within the container's limit (cgroup v2)."""
    if device.type == "cuda":
        import torch  # noqa: PLC0415

        return int(torch.cuda.mem_get_info(device)[0])
    free = int(psutil.virtual_memory().available)
    with contextlib.suppress(OSError, ValueError):  # no cgroup, or "max"
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        free = min(free, limit - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    return max(0, free)
