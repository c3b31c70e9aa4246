"""Pitch classes and key of a recording.

The chroma counts spectral peaks that last, not bins: a drum's noise has no peaks, and its tones die
too soon to leave a trace. Overtones count for the tone that has them, where it is there, because
the fifth partial of an E is a G sharp, and C major would seem to be left by every E.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tonewheel.audio.resample import resample
from tonewheel.audio.spectrum import Samples, mono, power_frames
from tonewheel.theory import Key

LOW_HZ, HIGH_HZ = 55.0, 2000.0
_RATE = 11_025
_HOP = 512  # 46 ms


@dataclass(frozen=True, slots=True)
class _Register:
    """Part of the range with a frame `size` that parts its semitones, and for how many frames a tone
    must last there: a kick drum sounds longer than a snare, and the notes above a bass are shorter."""

    low_hz: float
    high_hz: float
    size: int
    lasting_frames: int


# Lines are 4 bins wide: 11 Hz in the bass, where one note sounds at a time, 22 Hz above, where a semitone is 13.
_REGISTERS = (_Register(LOW_HZ, 150.0, 4096, 8), _Register(150.0, HIGH_HZ, 2048, 8))
_FLOOR_DB = -55.0  # below the loudest line of the recording
_PROMINENCE = 30.0  # times the power of the surroundings (15 dB)
_SEMITONES_WRONG = 0.25
_SCALE_WEIGHT = 2.0
# Probe-tone profiles of Krumhansl and Kessler (1982).
_PROFILES = {
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}


@dataclass(frozen=True, slots=True)
class KeyEstimate:
    """`key` as `A minor`, `confidence` 0-1 (lead over the runner-up), `inside` the share of chroma in its scale."""

    key: str
    confidence: float
    runner_up: str
    inside: float


def estimate_key(samples: Samples, rate: int) -> KeyEstimate | None:
    """The major or minor key whose probe-tone profile fits best; None without tones."""
    return key_of_chroma(chroma(samples, rate))


def chroma_in_key(samples: Samples, rate: int, pitch_classes: frozenset[int] | set[int] | tuple[int, ...]) -> float:
    """The share, 0 to 1, of the chroma of `samples [n, channels]` that lies on `pitch_classes` (C = 0);
    0 without tones."""
    found = chroma(samples, rate)
    return float(found[sorted({p % 12 for p in pitch_classes})].sum())


def key_of_chroma(found: NDArray[np.float64]) -> KeyEstimate | None:
    """The best key for a chroma `[12]` that adds up to 1."""
    if not found.any():
        return None
    fits = []
    for mode, profile in _PROFILES.items():
        for tonic in range(12):
            key = Key(tonic, mode)
            fit = float(np.corrcoef(np.roll(profile, tonic), found)[0, 1])
            # The profiles alone mistake a song that rests on its fifth for one in the key of the fifth;
            # the notes that are never played tell the two apart.
            fits.append((fit + _SCALE_WEIGHT * float(found[list(key.scale)].sum()), key))
    fits.sort(key=lambda pair: (-pair[0], str(pair[1])))
    (best, winner), (second, runner_up) = fits[0], fits[1]
    inside = float(found[list(winner.scale)].sum())
    # A lead of 0.1 in correlation is decisive.
    return KeyEstimate(str(winner), float(np.clip((best - second) / 0.1, 0, 1)), str(runner_up), inside)


def chroma(samples: Samples, rate: int) -> NDArray[np.float64]:
    """How much each pitch class (C = 0) sounds, `[12]` adding up to 1, or all 0 without tones.

    Peaks between 55 and 2000 Hz that stand out of their surroundings, weighted by the amplitude that
    lasts 0.2 s (not power, so that the bass does not drown the tune) and tilted by +3 dB an octave.
    """
    peaks = _peaks(resample(mono(samples), rate, _RATE))
    found = np.zeros(12)
    if not len(peaks.hertz):
        return found
    weights = peaks.amplitude * np.sqrt(peaks.hertz / 440.0)
    pitches = 69 + 12 * np.log2(_fundamentals(peaks) / 440.0)
    pitches -= _mistuning(pitches, weights)
    nearest = np.round(pitches)
    np.add.at(found, nearest.astype(int) % 12, weights * (np.abs(pitches - nearest) < _SEMITONES_WRONG))
    total = found.sum()
    return found / total if total > 0 else found


@dataclass(frozen=True, slots=True)
class _Peaks:
    """Spectral peaks: the frame of each, its frequency in Hz, and the amplitude that lasts."""

    frame: NDArray[np.int64]
    hertz: NDArray[np.float64]
    amplitude: NDArray[np.float64]


def _peaks(signal: Samples) -> _Peaks:
    found = [_peaks_of(signal, register) for register in _REGISTERS]
    frame, hertz, amplitude = (
        np.concatenate([getattr(p, name) for p in found]) for name in ("frame", "hertz", "amplitude")
    )
    if len(amplitude):
        loud = amplitude > amplitude.max() * 10 ** (_FLOOR_DB / 20)
        order = np.flatnonzero(loud)[np.argsort(frame[loud], kind="stable")]
        frame, hertz, amplitude = frame[order], hertz[order], amplitude[order]
    return _Peaks(frame, hertz, amplitude)


def _peaks_of(signal: Samples, register: _Register) -> _Peaks:
    low = int(register.low_hz * register.size / _RATE)
    high = int(register.high_hz * register.size / _RATE) + 1
    start = low - 13  # room for the surroundings
    # Padded so that frames of both sizes have their centres at the same times.
    padded = np.pad(signal, (register.size // 2, register.size // 2 + _HOP))
    power = np.concatenate([p[:, start : high + 14] for p in power_frames(padded, register.size, _HOP)])
    lasting = _lasting(power, register.lasting_frames)
    core = slice(low - start, high - start)
    rising = lasting[:, core] > lasting[:, low - start - 1 : high - start - 1]
    falling = lasting[:, core] >= lasting[:, low - start + 1 : high - start + 1]
    frame, at = np.nonzero(rising & falling & (lasting[:, core] > 1e-14))
    at += low - start
    stands_out = lasting[frame, at] > _PROMINENCE * _surroundings(lasting, frame, at)
    frame, at = frame[stands_out], at[stands_out]
    shift, power_at = _parabola(lasting, frame, at)
    hertz = (at + start + shift) * _RATE / register.size
    inside = (hertz >= register.low_hz) & (hertz < register.high_hz)
    return _Peaks(frame[inside], hertz[inside], np.sqrt(power_at[inside]))


def _lasting(power: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """For each frame and bin, the power that is there throughout the best run of `count` frames it is in."""
    if len(power) < count:
        return power
    runs = power[: len(power) - count + 1].copy()
    for offset in range(1, count):
        np.minimum(runs, power[offset : offset + len(runs)], out=runs)
    best = np.zeros_like(power)
    for offset in range(count):
        np.maximum(best[offset : offset + len(runs)], runs, out=best[offset : offset + len(runs)])
    return best


def _surroundings(power: NDArray[np.float32], frame: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.float64]:
    """Median power of the bins 4 to 12 away on both sides, where a lone line has left no energy."""
    offsets = np.concatenate([np.arange(-12, -3), np.arange(4, 13)])
    return np.asarray(np.median(power[frame[:, None], at[:, None] + offsets], axis=1), np.float64)


def _parabola(
    power: NDArray[np.float32], frame: NDArray[np.int64], at: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Place (in bins from `at`) and power of peaks, by a parabola through the logarithms of three bins."""
    left, centre, right = (np.log(power[frame, at + d].astype(np.float64) + 1e-20) for d in (-1, 0, 1))
    bend = left - 2 * centre + right
    shift = np.where(np.abs(bend) > 1e-9, 0.5 * (left - right) / np.where(bend == 0, 1, bend), 0.0)
    shift = np.clip(shift, -0.5, 0.5)
    return shift, np.exp(centre - 0.25 * (left - right) * shift)


def _fundamentals(peaks: _Peaks) -> NDArray[np.float64]:
    """The frequency of the tone each peak belongs to: its own, or that of a peak below, at least
    half as strong, whose 2nd to 12th partial it is within a quarter of a semitone."""
    found = peaks.hertz.copy()
    bounds = np.flatnonzero(np.diff(peaks.frame, prepend=-1, append=-1))
    for first, last in pairwise(bounds):
        hertz, amplitude = peaks.hertz[first:last], peaks.amplitude[first:last]
        ratio = hertz[:, None] / hertz[None, :]
        partial = np.round(ratio)
        near = np.abs(12 * np.log2(ratio / np.maximum(partial, 1))) < 0.25
        overtone = near & (partial >= 2) & (partial <= 12) & (amplitude[None, :] >= 0.5 * amplitude[:, None])
        # The nearest such peak, which may be an overtone in its turn: 6 is 2 x 3.
        nearest = np.where(overtone, partial, np.inf)
        below = np.where(overtone.any(axis=1), nearest.argmin(axis=1), np.arange(last - first))
        for _ in range(3):
            below = below[below]
        found[first:last] = hertz[below]
    return found


def _mistuning(pitches: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """How far the recording lies from A = 440 Hz, in semitones (-0.5 to 0.5): the circular mean of all peaks."""
    turn = np.sum(weights * np.exp(2j * np.pi * pitches))
    return float(np.angle(turn) / (2 * np.pi))
