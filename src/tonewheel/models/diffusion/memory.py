"""What a diffusers folder holds, without loading anything: for the memory functions of cards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tonewheel.models.tensor_heads import numbers_in
from tonewheel.settings import settings

_MB = 1 << 20
# Resident memory of torch, transformers, diffusers and the service on Linux (Python 3.11, torch 2.13 for CPUs).
LIBRARIES = 800 * _MB


def bytes_a_number() -> int:
    """Of weights, as set; `auto` is reckoned as float32, the larger: which device it will be is not known yet."""
    return 2 if settings().diffusion_dtype in ("bfloat16", "float16") else 4


def parameters(folder: Path) -> dict[str, int]:
    """Numbers in each part (sub-folder) of a folder; {} = it is not here, or broken: loading it will say so."""
    counts: dict[str, int] = {}
    try:
        for part in sorted(p for p in folder.iterdir() if p.is_dir()):
            if total := _counted(part):
                counts[part.name] = total
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return counts


def config_of(folder: Path, part: str) -> dict[str, Any]:
    """config.json of a part; {} = it is not here."""
    try:
        config = json.loads((folder / part / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _counted(part: Path) -> int:
    """From the heads of safetensors files, or the size of pickles in float32."""
    files = list(part.glob("*.safetensors"))
    if not files:
        return sum(file.stat().st_size for file in part.glob("*.bin")) // 4
    return sum(sum(numbers_in(file).values()) for file in files)
