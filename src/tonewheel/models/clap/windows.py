"""A recording of any length as windows of at most ten seconds: CLAP hears no more at once.

transformers' own feature extractor cuts a random ten seconds out of anything longer; here all of it counts. Windows
follow each other, and the last is moved back to end with the recording, so that all but a short recording's are full.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]


class Windows(Sequence[Samples]):
    """Windows of `samples [n]`, each `[length]` and made when asked for; a shorter recording is one, `[n]`."""

    def __init__(self, samples: Samples, length: int, rate: int) -> None:
        self._samples, self._length = samples, length
        self.duration_s = len(samples) / rate

    def __len__(self) -> int:
        return (len(self._samples) + self._length - 1) // self._length

    @overload
    def __getitem__(self, index: int) -> Samples: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Samples]: ...
    def __getitem__(self, index: int | slice) -> Samples | Sequence[Samples]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        start = min(index * self._length, max(0, len(self._samples) - self._length))
        return self._samples[start : start + self._length]


def joined(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """One embedding `[d]` of length 1 from those of all windows `[k, d]`: their mean, normalised."""
    mean = embeddings.mean(axis=0, dtype=np.float64)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), np.float32)
