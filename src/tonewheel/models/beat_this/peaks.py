"""Logits to times: upstream's "minimal" post-processing (CPJKU/beat_this, `postprocessor.py`, MIT)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tonewheel.models.beat_this.frontend import FPS

_REACH = 3  # frames to each side: a peak is the largest within 70 ms

Times = NDArray[np.float64]


def pick(logits: Tensor) -> tuple[Times, Times]:
    """Beats and downbeats in seconds from logits `[T, 2]`. Every downbeat is one of the beats, if there are any."""
    beats, downbeats = (_times(column) for column in logits.T)
    if len(beats):
        nearest = np.abs(beats[None, :] - downbeats[:, None]).argmin(axis=1)
        downbeats = beats[nearest]
    return beats, np.unique(downbeats)


def _times(logits: Tensor) -> Times:
    """Peaks that are more likely than not (a logit above 0)."""
    highest = functional.max_pool1d(logits[None], 2 * _REACH + 1, 1, _REACH)[0]
    peaks = ((logits == highest) & (logits > 0)).nonzero()[:, 0].numpy()
    return _merged(peaks) / FPS


def _merged(peaks: NDArray[np.int64]) -> Times:
    """Neighbouring frames as one, at their mean: equal logits make two peaks of one beat."""
    found: list[float] = []
    count = 1
    for frame in peaks.tolist():
        if found and frame - found[-1] <= 1:
            count += 1
            found[-1] += (frame - found[-1]) / count
        else:
            found.append(float(frame))
            count = 1
    return np.array(found, np.float64)
