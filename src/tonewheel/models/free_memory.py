"""How much memory a model may still take on its device, and what is told when that was not enough."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tonewheel.engine.faults import out_of_memory
from tonewheel.errors import OutOfMemory

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


def told(error: Exception) -> Exception:
    """A failed allocation of torch, perhaps passed on by the engine, as OutOfMemory; anything else as it is."""
    if out_of_memory(error):
        return OutOfMemory("there is not enough memory for it: ask for less audio, or free memory and try again")
    return error
