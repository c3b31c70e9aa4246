"""What the exceptions of torch mean."""

from __future__ import annotations

import torch


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, told directly or by the message of a fault that passed it on."""
    # torch tells with a bare RuntimeError that a CPU has no memory left.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error)
