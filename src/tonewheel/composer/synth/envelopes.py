"""Attacks, releases and fades as float32 arrays; cached ones are read-only.

Times in seconds, lengths in samples at SAMPLE_RATE.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tonewheel.composer.synth.rate import SAMPLE_RATE

Samples = npt.NDArray[np.float32]


def samples_of(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


@lru_cache(maxsize=256)
def rise(n: int) -> Samples:
    """A raised-cosine fade from 0 to 1 over `n` samples: no corner at either end."""
    return _frozen(0.5 - 0.5 * np.cos(np.pi * (np.arange(n) + 0.5) / max(n, 1)))


@lru_cache(maxsize=256)
def fall(n: int) -> Samples:
    """`rise` backwards."""
    return _frozen(rise(n)[::-1])


@lru_cache(maxsize=256)
def release(n: int, fade_db: float = 60.0) -> Samples:
    """An exponential from 1 that has lost `fade_db` after `n` samples, its last quarter faded to 0."""
    curve = 10.0 ** (-fade_db / 20.0 * np.arange(n) / max(n, 1))
    tail = max(n // 4, 1)
    curve[n - tail :] *= fall(tail)[: min(tail, n)]
    return _frozen(curve)


def decay(n: int, t60: float) -> Samples:
    """An exponential that loses 60 dB in `t60` seconds."""
    curve = np.arange(n, dtype=np.float32)
    curve *= np.float32(-math.log(1000.0) / (t60 * SAMPLE_RATE))
    return np.exp(curve, out=curve)


def adsr(n: int, held: int, *, attack_s: float, decay_s: float, sustain: float) -> Samples:
    """float32 [n]: raised-cosine attack, exponential decay (time constant `decay_s` / 3) to `sustain`,
    from sample `held` a release. `n` should be held + release."""
    envelope = np.empty(n, np.float32)
    on = min(held, n)
    a = min(samples_of(attack_s), on)
    envelope[:a] = rise(a)
    if sustain < 1.0:
        fallen = np.exp(np.arange(n - a, dtype=np.float32) * np.float32(-3.0 / max(decay_s * SAMPLE_RATE, 1.0)))
        envelope[a:] = sustain + np.float32(1.0 - sustain) * fallen
    else:
        envelope[a:] = 1.0
    if n > on:
        start = envelope[on - 1] if 0 < on <= a else 1.0
        envelope[on:] *= release(n - on) * start
    return envelope


def _frozen(values: npt.NDArray[np.floating]) -> Samples:
    out = np.ascontiguousarray(values, dtype=np.float32)
    out.setflags(write=False)
    return out
