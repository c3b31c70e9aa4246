"""Bus compressor and true-peak limiter, worked out on short blocks and applied as a smooth gain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tonewheel.composer.mix.filters import Samples
from tonewheel.composer.synth.rate import SAMPLE_RATE

_BLOCK = 32  # samples: 0.7 ms, the grid of the limiter's gain
_OVERSAMPLE = 4
_HALF = 12  # taps each side of the interpolation filter


def _interpolator() -> Samples:
    """Windowed-sinc values between samples: [2 * _HALF, _OVERSAMPLE - 1], for phases 1/4, 2/4, 3/4."""
    at = np.arange(-_HALF + 1, _HALF + 1)[:, None] - np.arange(1, _OVERSAMPLE)[None, :] / _OVERSAMPLE
    window = np.cos(np.pi * at / (2 * _HALF)) ** 2
    return np.asarray(np.sinc(at) * window, dtype=np.float32)


_PHASES = _interpolator()


def block_peaks(samples: Samples, threshold: float) -> Samples:
    """True peak of each block of 32 samples, both channels together; float32 [ceil(n / 32)].

    Blocks whose sample peak is far below `threshold` keep the sample peak: between samples a wave
    can rise by a few dB at most, so they cannot cross it.
    """
    n = samples.shape[1]
    blocks = -(-n // _BLOCK)
    peaks = np.zeros(blocks, dtype=np.float32)
    for channel in samples:
        whole = n // _BLOCK * _BLOCK
        rows = channel[:whole].reshape(-1, _BLOCK)
        own = np.maximum(rows.max(axis=1), -rows.min(axis=1))
        if whole < n:
            own = np.append(own, np.abs(channel[whole:]).max())
        near = np.flatnonzero(own > threshold * 0.6)
        for part in np.array_split(near, max(1, near.size // 4096)):
            if part.size:
                own[part] = np.maximum(own[part], _between(channel, part))
        np.maximum(peaks, own, out=peaks)
    return peaks


def _between(channel: Samples, blocks: NDArray[np.intp]) -> Samples:
    """Largest interpolated magnitude in each of `blocks`."""
    width = _BLOCK + 2 * _HALF
    at = blocks[:, None] * _BLOCK - _HALF + 1 + np.arange(width)
    inside = channel[at.clip(0, channel.shape[0] - 1)]
    windows = np.lib.stride_tricks.sliding_window_view(inside, 2 * _HALF, axis=1)[:, :_BLOCK]
    flat = np.ascontiguousarray(windows).reshape(-1, 2 * _HALF) @ _PHASES
    return np.asarray(np.abs(flat).reshape(blocks.size, -1).max(axis=1))


def limit(samples: Samples, ceiling: float) -> None:
    """Hold the true peak of [2, n] at `ceiling` (linear), in place: 3 ms look-ahead, about 60 ms release."""
    peaks = block_peaks(samples, ceiling)
    need = np.minimum(1.0, ceiling / np.maximum(peaks, 1e-9)).astype(np.float64)
    if need.min() >= 1.0:
        return
    ahead = 4
    # The gain is interpolated between block centres, so a block must also obey its neighbours.
    floor = need.copy()
    for shift in range(1, ahead + 2):
        floor[:-shift] = np.minimum(floor[:-shift], need[shift:])
        floor[shift:] = np.minimum(floor[shift:], need[:-shift])
    gain = _release(floor, 0.060)
    kernel = np.hanning(2 * ahead + 1)[1:-1]
    kernel /= kernel.sum()
    padded = np.pad(gain, kernel.size // 2, mode="edge")
    # Each smoothed value is a mean of floors that all obey the block and both its neighbours.
    apply_gain(samples, np.convolve(padded, kernel, mode="valid"), _BLOCK)


def _release(floor: NDArray[np.float64], seconds: float) -> NDArray[np.float64]:
    """Gain that falls at once and recovers exponentially (in dB) with the time constant given."""
    keep = float(np.exp(-_BLOCK / SAMPLE_RATE / seconds))
    drop = -np.log(floor)  # nepers of reduction wanted
    out = np.empty_like(drop)
    now = 0.0
    for i, wanted in enumerate(drop.tolist()):
        now = wanted if wanted > now else wanted + (now - wanted) * keep
        out[i] = now
    return np.exp(-out)


def apply_gain(samples: Samples, gain: NDArray[np.float64], block: int) -> None:
    """Multiply [2, n] by a gain given at block centres, linear between them, in place."""
    n = samples.shape[1]
    half = block // 2
    levels = gain.astype(np.float32)
    samples[:, :half] *= levels[0]
    ramp = ((np.arange(block, dtype=np.float32) + 0.5) / block)[None, :]
    for first in range(0, levels.size - 1, 8192):  # bounds the curve held at once to 8192 blocks
        here = levels[first : first + 8193]
        curve = (here[:-1, None] + (here[1:] - here[:-1])[:, None] * ramp).reshape(-1)
        start = half + first * block
        stop = min(n, start + curve.size)
        samples[:, start:stop] *= curve[: stop - start]
    samples[:, half + (levels.size - 1) * block :] *= levels[-1]


def compress(samples: Samples, amount: float, block: int = 256) -> None:
    """A gentle bus compressor, in place: threshold 4 dB under the programme's own loud level, ratio up to
    2:1, attack 15 ms, release 180 ms. `amount` 0-1 scales the ratio."""
    if amount <= 0:
        return
    n = samples.shape[1]
    blocks = n // block
    if blocks < 8:
        return
    rows = samples[:, : blocks * block].reshape(2, blocks, block)
    power = np.einsum("cbk,cbk->b", rows, rows) / block
    level = 10 * np.log10(power.astype(np.float64) + 1e-10)
    threshold = np.percentile(level, 75) - 4.0
    over = np.maximum(level - threshold, 0.0) * (0.5 * amount)
    attack = np.exp(-block / SAMPLE_RATE / 0.015)
    release = np.exp(-block / SAMPLE_RATE / 0.180)
    reduction = np.empty_like(over)
    now = 0.0
    for i, wanted in enumerate(over.tolist()):
        keep = attack if wanted > now else release
        now = wanted + (now - wanted) * keep
        reduction[i] = now
    apply_gain(samples, 10 ** (-reduction / 20), block)
