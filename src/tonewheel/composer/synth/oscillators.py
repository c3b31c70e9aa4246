"""Sounds without end: loops that repeat without a seam, and phases for frequency modulation.

A loop is one inverse FFT over a few seconds: every partial sits on a whole number of cycles, so it may
be read from anywhere and wrapped. The length is chosen for each pitch so that the fundamental is exact.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tonewheel.composer.synth.envelopes import Samples
from tonewheel.composer.synth.rate import SAMPLE_RATE

Reals = npt.NDArray[np.float64]


def hertz(pitch: float) -> float:
    """Equal temperament, A4 (MIDI 69) = 440 Hz."""
    return float(440.0 * 2.0 ** ((pitch - 69.0) / 12.0))


@lru_cache(maxsize=8)
def _smooth_sizes(least: int, most: int) -> npt.NDArray[np.int64]:
    """Even numbers with no prime factor above 7: sizes at which an FFT is quick."""
    sizes = [
        2**a * 3**b * 5**c * 7**d
        for a in range(1, 22)
        for b in range(8)
        for c in range(6)
        for d in range(4)
        if least <= 2**a * 3**b * 5**c * 7**d <= most
    ]
    return np.array(sorted(sizes), dtype=np.int64)


def loop_size(hz: float, seconds: float = 2.6) -> tuple[int, int]:
    """(samples, cycles): a loop of about `seconds` that holds a whole number of cycles of `hz` to
    within a few tenths of a cent at worst (the lowest), mostly far less."""
    sizes = _smooth_sizes(round(seconds * 0.8 * SAMPLE_RATE), round(seconds * 1.25 * SAMPLE_RATE))
    cycles = sizes * (hz / SAMPLE_RATE)
    best = int(np.argmin(np.abs(cycles - np.rint(cycles)) / cycles))
    return int(sizes[best]), round(float(cycles[best]))


def lines(size: int, bins: npt.NDArray[np.integer], amplitudes: npt.NDArray[np.complexfloating]) -> Samples:
    """A loop of pure partials. bins [K] cycles a loop, amplitudes [V, K] complex (|a| = peak level).
    Returns float32 [V, size]. Bins at or above 0.46 of the rate are left out; equal bins add."""
    keep = (bins > 0) & (bins < 0.46 * size)
    spectrum = np.zeros((amplitudes.shape[0], size // 2 + 1), np.complex64)
    scaled = (amplitudes[:, keep] * (size / 2)).astype(np.complex64)
    for row, values in zip(spectrum, scaled, strict=True):
        np.add.at(row, bins[keep], values)
    return np.fft.irfft(spectrum, size, axis=1).astype(np.float32, copy=False)


def turns(hz: float, n: int, start: float = 0.0) -> npt.NDArray[np.uint32]:
    """The phase of a steady oscillator, uint32 [n], 2**32 a cycle: it wraps by itself and never drifts."""
    step = np.uint32(round(hz / SAMPLE_RATE * 2**32) % 2**32)
    phase = np.arange(n, dtype=np.uint32)
    phase *= step
    phase += np.uint32(round((start % 1.0) * 2**32) % 2**32)
    return phase


def swept_turns(hz: Reals, start: float = 0.0) -> npt.NDArray[np.uint32]:
    """The phase of an oscillator whose frequency moves: hz [n] -> uint32 [n]."""
    cycles = np.cumsum(hz / SAMPLE_RATE)
    cycles += start - hz[0] / SAMPLE_RATE
    cycles -= np.floor(cycles)
    return (cycles * 2**32).astype(np.uint64).astype(np.uint32)


def sine(phase: npt.NDArray[np.uint32]) -> Samples:
    """sin of a phase, float32."""
    angle = phase.view(np.int32).astype(np.float32)
    angle *= np.float32(math.pi / 2**31)
    return np.sin(angle, out=angle)


def modulated(phase: npt.NDArray[np.uint32], shift: Samples) -> Samples:
    """sin(phase + shift), shift in radians: phase modulation."""
    angle = phase.view(np.int32).astype(np.float32)
    angle *= np.float32(math.pi / 2**31)
    angle += shift
    return np.sin(angle, out=angle)


def noise_burst(
    rng: np.random.Generator, n: int, variants: int, low_hz: float, high_hz: float, *, tilt: float = 0.0
) -> Samples:
    """Band-passed noise, float32 [variants, n], RMS 1: a knock, a scrape, breath. The band edges are
    smooth (third order); `tilt` dB an octave above `low_hz`."""
    size = 1 << max(n - 1, 1).bit_length()
    hz = np.maximum(np.fft.rfftfreq(size, 1.0 / SAMPLE_RATE), 1.0)
    shape = 1.0 / np.sqrt((1.0 + (low_hz / hz) ** 6) * (1.0 + (hz / high_hz) ** 6))
    shape *= (hz / low_hz) ** (tilt / 6.02)
    shape[0] = 0.0
    angle = rng.random((variants, len(hz)), dtype=np.float32) * np.float32(2 * math.pi)
    spectrum = (shape * np.exp(1j * angle)).astype(np.complex64)
    burst = np.fft.irfft(spectrum, size, axis=1)[:, :n]
    level = float(np.sqrt(np.mean(burst**2) + 1e-12))
    return np.asarray(burst / level, dtype=np.float32)
