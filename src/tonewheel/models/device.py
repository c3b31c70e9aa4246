"""Where a model runs, and in which type, when nothing else is said."""

from __future__ import annotations

import torch

_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def best_device() -> torch.device:
    """A GPU that torch can use (ROCm calls itself cuda, too), else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def between(device: torch.device, precision: str | None) -> torch.dtype:
    """The type of what flows between layers whose weights are of a precision: quantised ones are multiplied with
    float32 on a CPU and with bfloat16 elsewhere."""
    return chosen_type(device, None if precision in ("int8", "int4") else precision)


def chosen_type(device: torch.device, chosen: str | None) -> torch.dtype:
    """As a setting has it; None or auto: bfloat16 on CUDA, else float32 (half precision is slower on a CPU)."""
    if chosen in (None, "auto"):
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return _TYPES[chosen]
