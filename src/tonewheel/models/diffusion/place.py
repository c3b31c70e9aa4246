"""Where a pipeline runs, in which type, and whether its parts wait in main memory (CPU offload)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import torch

from tonewheel.errors import MissingExtra, OutOfMemory
from tonewheel.models.device import best_device, chosen_type
from tonewheel.models.free_memory import free_bytes
from tonewheel.settings import settings

_GB = 1e9


@dataclass(frozen=True, slots=True)
class Place:
    """A device, a type, and whether only the part at work is on the device. `note` tells of an offload."""

    device: torch.device
    dtype: torch.dtype
    offload: bool = False
    note: str = ""

    @property
    def name(self) -> str:
        """Such as `cpu/float32`: what speeds are kept under."""
        offloaded = "/offloaded" if self.offload else ""
        return f"{self.device.type}/{str(self.dtype).removeprefix('torch.')}{offloaded}"


def place(model: str, idle_bytes: Callable[[int], int], half: torch.dtype = torch.float16) -> Place:
    """The best place for a model that takes `idle_bytes(bytes a number)` loaded and idle.

    On CUDA numbers are `half`, unless TONEWHEEL_DIFFUSION_DTYPE says otherwise. Raises OutOfMemory where neither the
    device nor, with offload, the main memory holds it.
    """
    device = best_device()
    chosen = settings().diffusion_dtype
    dtype = half if chosen == "auto" and device.type == "cuda" else chosen_type(device, chosen)
    need = idle_bytes(dtype.itemsize)
    main = free_bytes(torch.device("cpu"))
    if device.type == "cpu":
        if need > main:
            raise OutOfMemory(f"{model} takes {_gb(need)} of memory and {_gb(main)} are free: free some, or use a GPU")
        return Place(device, dtype)
    free, wish = free_bytes(device), settings().diffusion_offload
    if wish == "never" or (wish == "auto" and need <= free):
        if need > free:
            raise OutOfMemory(
                f"{model} takes {_gb(need)} and the GPU has {_gb(free)} free: set TONEWHEEL_DIFFUSION_OFFLOAD=auto"
            )
        return Place(device, dtype)
    if need > main:
        raise OutOfMemory(f"{model} takes {_gb(need)}; the GPU has {_gb(free)} free and the main memory {_gb(main)}")
    _ensure_accelerate(model)
    why = f"it takes {_gb(need)} and the GPU had {_gb(free)} free" if wish == "auto" else "as set"
    return Place(device, dtype, True, f"CPU offload: parts of the model waited in main memory ({why})")


def _ensure_accelerate(model: str) -> None:
    if find_spec("accelerate") is None:
        raise MissingExtra(f"{model} needs accelerate for CPU offload: run `pip install 'tonewheel[diffusion]'`")


def _gb(size: float) -> str:
    return f"{size / _GB:.1f} GB"
