"""Audio sent with a request, as the model needs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Prepared:
    """float32 at 32 kHz, full scale ±1."""

    given: NDArray[np.float32] | None = None  # [n, channels] of `continue_from`, with the model's channels
    melody: NDArray[np.float32] | None = None  # [n], mono
