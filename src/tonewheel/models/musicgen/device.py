"""How much memory MusicGen's keys and values may take."""

from __future__ import annotations

import torch

from tonewheel.models.free_memory import free_bytes
from tonewheel.settings import settings

_SHARE = 0.8  # of what is free after loading; the rest is for samples, encodings and other programs


def cache_limit(device: torch.device) -> int:
    """Bytes that the key/value cache of all requests may take: as set, or most of what is free now."""
    chosen = settings().musicgen_cache_mb
    if chosen is not None:
        return round(chosen * 1e6)
    return round(_SHARE * free_bytes(device))
