"""Where MusicGen runs, in which type, and how much memory is left for keys and values there."""

from __future__ import annotations

import torch

from tonewheel.models.free_memory import free_bytes
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
    return round(_SHARE * free_bytes(device))
