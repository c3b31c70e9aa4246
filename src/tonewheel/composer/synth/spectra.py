"""Spectra of many players at once, and the curves their sound goes through.

A player is a phase that wanders: detune, slow drift, vibrato. The harmonic h of it is exp(i h phase(t)), a narrow
cluster of lines around h times the fundamental, because the phase moves slowly: a few hundred points a loop hold it
exactly. So all players are summed harmonic by harmonic on that coarse grid, transformed, and laid into the spectrum
of the whole loop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tonewheel.composer.synth.envelopes import Samples
from tonewheel.composer.synth.oscillators import Reals
from tonewheel.composer.synth.rate import SAMPLE_RATE

Spectrum = npt.NDArray[np.complex64]

CENT = math.log(2.0) / 1200.0
TOP_HZ = 19_000.0
GRID: Reals = np.concatenate([[0.0], np.geomspace(10.0, 0.5 * SAMPLE_RATE, 700)])  # Hz at which curves are drawn
_TURN = np.float32(2.0 * math.pi)


# ── players ─────────────────────────────────────────────────────────────────────────────────────────


def drifting(rng: np.random.Generator, players: int, points: int, cycles: float, cents: float) -> Samples:
    """Phases [players, points] of players who wander by `cents` RMS around the pitch, a random phase to start with.
    `cycles` is the loop's length in cycles of the fundamental."""
    rates = np.arange(1, 5)
    depth = cents * CENT * cycles * math.sqrt(2.0 / len(rates)) / rates * rng.uniform(0.6, 1.4, (players, len(rates)))
    place = rng.random((players, len(rates))) * 2 * np.pi
    turn = around(points) * rates[:, None].astype(np.float32)
    waves = np.concatenate([np.sin(turn), np.cos(turn)])
    mix = np.concatenate([depth * np.cos(place), depth * np.sin(place)], axis=1).astype(np.float32)
    return np.asarray(mix @ waves + rng.random((players, 1), dtype=np.float32) * _TURN, np.float32)


def trembling(rng: np.random.Generator, rates: Reals, points: int, cycles: float, cents: float) -> Samples:
    """Phases [players, points] of vibratos of `cents` to either side, `rates` [players, 1] times a loop; the depth
    is each player's own and comes and goes."""
    turn = around(points)
    starts = rng.random((2, len(rates), 1), dtype=np.float32) * _TURN
    index = (cents * CENT * cycles / rates * rng.uniform(0.7, 1.3, rates.shape)).astype(np.float32)
    swell = np.float32(1.0) + np.float32(0.3) * np.sin(turn + starts[0])
    return np.asarray(index * swell * np.sin(rates.astype(np.float32) * turn + starts[1]), np.float32)


def around(points: int) -> Samples:
    """One turn, 0 to 2 pi, [points]."""
    return np.arange(points, dtype=np.float32) * np.float32(2.0 * math.pi / points)


def whole_offsets(cents: Reals, cycles: float) -> Reals:
    """Steady detunes as whole cycles a loop, so that the loop closes: no two equal if they differ by a cent."""
    offsets = np.rint(cents * CENT * cycles)
    for i in range(len(offsets) // 2 - 1, -1, -1):
        mirror = len(offsets) - 1 - i
        if cents[mirror] - cents[mirror - 1] > 1.0:
            offsets[mirror] = max(offsets[mirror], offsets[mirror - 1] + 1)
            offsets[i] = -offsets[mirror]
    return np.asarray(offsets, np.float64)


def grid_points(bins: float) -> int:
    """Points a loop that hold a harmonic which spreads over `bins` lines to either side: 2 ** k or 3 * 2 ** k."""
    least = min(max(2.1 * bins, 64.0), 8192.0)
    twos = 1 << math.ceil(math.log2(least))
    return twos * 3 // 4 if twos * 3 // 4 >= least else twos


def unison(phases: Samples, gains: Reals, count: int) -> Spectrum:
    """The harmonics 1 ... count of all players, as lines [count, M] around each harmonic's place (the middle).

    phases [P, M] radians over the loop beside the exact pitch; the harmonic h of a player has h times its phase.
    """
    players, points = phases.shape
    turn = np.empty((players, points), np.complex64)
    np.cos(phases, out=turn.real)
    np.sin(phases, out=turn.imag)
    current = turn * gains.astype(np.float32)[:, None]
    sums = np.empty((count, points), np.complex64)
    for h in range(count):
        np.add.reduce(current, axis=0, out=sums[h])
        np.multiply(current, turn, out=current)
    lines = np.fft.fftshift(np.fft.fft(sums, axis=1), axes=1)
    lines *= np.complex64(1.0 / (points * math.sqrt(players)))
    return np.asarray(lines, np.complex64)


def anchored(clusters: Spectrum, f0: float, steady: float, rng: np.random.Generator) -> Spectrum:
    """Lines [count, M] with a steady one in the middle of each low harmonic, in place, the power kept."""
    h = np.arange(1, len(clusters) + 1)
    share = steady / (1.0 + (h * f0 / 320.0) ** 2)
    level = share * np.sqrt(np.sum(np.abs(clusters) ** 2, axis=1))
    clusters[:, clusters.shape[1] // 2] += level * np.exp(2j * np.pi * h * rng.random())
    clusters /= np.sqrt(1.0 + share**2).astype(np.float32)[:, None]
    return clusters


def laid(clusters: Spectrum, cycles: int, size: int) -> Spectrum:
    """Lines around harmonics [count, M] in their places in the spectrum [size // 2 + 1] of a loop."""
    count, points = clusters.shape
    half = size // 2 + 1
    spectrum = np.zeros(half, np.complex64)
    for h in range(count):
        first = (h + 1) * cycles - points // 2
        low, high = max(first, 1), min(first + points, half)
        if high > low:
            spectrum[low:high] += clusters[h, low - first : high - first]
    return spectrum


def scatter(rng: np.random.Generator, level: Samples, size: int) -> Spectrum:
    """Two takes of noise as spectra [2, size // 2 + 1]: `level` is the gain of white noise of RMS 1 at each bin.

    Uniform draws serve: a sample of the loop is a sum of thousands of them. The second take is the first's draws
    for other bins.
    """
    half = size // 2 + 1
    away = half // 3
    draws = rng.random((half + away, 2), dtype=np.float32)
    draws -= np.float32(0.5)
    lines = draws.view(np.complex64)[:, 0]
    gain = level * np.float32(math.sqrt(12.0 * size / 2.0))
    return np.stack([lines[:half] * gain, lines[away:] * gain])


def rms_of(spectra: Spectrum, size: int) -> Reals:
    """RMS [shades] of the loops that spectra [shades, takes, size // 2 + 1] give."""
    parts = spectra.view(np.float32)
    power = np.einsum("stf,stf->s", parts, parts, dtype=np.float64) / spectra.shape[1]
    return np.asarray(np.sqrt(2.0 * power) / size + 1e-12)


# ── curves over frequency ───────────────────────────────────────────────────────────────────────────


def drawn(curve: Reals, hz: Reals) -> Samples:
    """A curve given on GRID at the bins `hz`."""
    return np.interp(hz, GRID, curve).astype(np.float32)


def shared_lows(hz: Reals) -> Samples:
    """How much of the second take's low end is the first take's: the bass of a wide sound stays in the middle."""
    return (1.0 / (1.0 + (hz / 220.0) ** 2)).astype(np.float32)


def below_top(hz: Reals, top: float = TOP_HZ) -> Reals:
    """1, and a smooth end at `top`: nothing reaches the Nyquist."""
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * np.clip((hz - 0.9 * top) / (0.1 * top), 0.0, 1.0)))


def slope(hz: Reals, f0: float, power: float = 1.0) -> Reals:
    """1 / h ** power at harmonic h; flat under the fundamental. 1 is a saw, 2 near a triangle."""
    return np.asarray((np.maximum(hz, f0) / f0) ** -power)


def lowpass(hz: Reals, cutoff: float, poles: int = 2, resonance: float = 0.0) -> Reals:
    """A low-pass of `poles` with a bump of `resonance` (0.5 = +50 %) at the cutoff."""
    ratio = hz / cutoff
    gain = 1.0 / np.sqrt(1.0 + ratio ** (2 * poles))
    if resonance > 0.0:
        gain *= 1.0 + resonance * np.exp(-0.5 * (np.log2(np.maximum(ratio, 1e-6)) / 0.3) ** 2)
    return np.asarray(gain)


def highpass(hz: Reals, cutoff: float, poles: int = 2) -> Reals:
    ratio = cutoff / np.maximum(hz, 1e-3)
    return np.asarray(1.0 / np.sqrt(1.0 + ratio ** (2 * poles)))


def resonances(hz: Reals, peaks: Sequence[tuple[float, float, float]], floor: float = 0.0) -> Reals:
    """`floor` and a bell for each peak (Hz, bandwidth in Hz, gain): a body, a throat."""
    gain = np.full(len(hz), floor)
    for centre, width, level in peaks:
        gain += level / np.sqrt(1.0 + ((hz - centre) / (0.5 * width)) ** 2)
    return gain
