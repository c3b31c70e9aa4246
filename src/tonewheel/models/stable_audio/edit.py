"""A recording sent along: what is to be varied, or which part of it is to be made anew."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Edit:
    """`samples` float32 [2, n] at 44.1 kHz. Either `noise_level` is told, or the `span` to be made anew, in seconds."""

    samples: NDArray[np.float32]
    duration_s: float
    noise_level: float | None = None
    span: tuple[float, float] | None = None

    @cached_property
    def key(self) -> tuple[object, ...]:
        """Equal for what can be rendered together."""
        digest = hashlib.blake2b(self.samples.tobytes(), digest_size=16).digest()
        return digest, self.noise_level, self.span
