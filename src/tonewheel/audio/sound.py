"""What decoding gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Audio:
    """`samples [n, channels]` float32, full scale at ±1; `format` as a person would name it."""

    samples: NDArray[np.float32]
    rate: int
    format: str

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.rate

    @property
    def channels(self) -> int:
        return int(self.samples.shape[1])


@dataclass(frozen=True, slots=True)
class Sound(Audio):
    """Somebody else's audio, its samples finite; `source_rate` and `source_channels` are those of the file."""

    source_rate: int
    source_channels: int
