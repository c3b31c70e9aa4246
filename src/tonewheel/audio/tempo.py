"""Tempo of a recording, told from its onsets alone.

The onset curve (rise of log band energies) is compared with itself at every delay; a tempo is as
good as the mean agreement at one to several of its beats. Steady tempo is assumed, as in everything
the composer makes. Which octave a listener would tap is open to debate, so the half and the double
tempo are reported with their strengths.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tonewheel.audio.spectrum import Samples, band_matrix, mono, power_frames

MIN_BPM, MAX_BPM = 40.0, 240.0
_FRAMES_A_SECOND = 100
_SHORTEST_S = 3.0
# People tap most readily near 120 (Moelants 2002: 120-130); an octave away is about one standard deviation.
_FAVOURITE_BPM, _PRIOR_OCTAVES = 118.0, 0.9
# How much the agreement after 1, 2, 3 ... beats counts: bars of four are commoner than bars of three,
# and hardly anything repeats after five or seven beats.
_BEAT_WEIGHTS = (1.0, 1.0, 0.7, 1.0, 0.4, 0.7, 0.4, 1.0)
_RANGE_DB = 20.0  # below a band's loudest moments the rise of its level no longer counts


@dataclass(frozen=True, slots=True)
class Tempo:
    """`bpm` with `confidence` 0-1; `octaves` are the strengths of half, same and double tempo, the best = 1."""

    bpm: float
    confidence: float
    octaves: dict[str, float]


def estimate_tempo(samples: Samples, rate: int) -> Tempo | None:
    """The tempo of `samples [n, channels]`; None when it is too short (3 s) or has no onsets."""
    if len(samples) < _SHORTEST_S * rate:
        return None
    rises, fps = onset_curves(samples, rate)
    periods = _Periods.of(rises, fps)
    if periods is None:
        return None
    candidates = np.exp(np.arange(np.log(MIN_BPM), np.log(MAX_BPM), 0.004))
    strengths = np.array([periods.comb(bpm) * (0.1 + periods.pulse(bpm)) for bpm in candidates])
    preference = np.exp(-0.5 * (np.log2(candidates / _FAVOURITE_BPM) / _PRIOR_OCTAVES) ** 2)
    scores = strengths * preference
    best = int(np.argmax(scores))
    if scores[best] <= 0:
        return None
    bpm = _refined(periods, _tapped_octave(periods, float(candidates[best])))
    return Tempo(bpm, _confidence(candidates, scores, best), _octaves(periods, bpm))


def fold(bpm: float, reference: float) -> float:
    """`bpm` moved by octaves to where it lies nearest `reference`."""
    return float(bpm * 2.0 ** round(np.log2(reference / bpm)))


def onset_curves(samples: Samples, rate: int) -> tuple[NDArray[np.float32], float]:
    """How much new energy arrives in each band and frame `[frames, bands]`, and the frames a second (about 100).

    The rise is taken of logarithms in bands a third of an octave wide, so that a quiet chord change counts
    beside a loud drum, and against the frame before last, so that soft attacks count too.
    """
    hop = max(1, round(rate / _FRAMES_A_SECOND))
    size = 2048 if rate >= 32_000 else 1024
    bands = band_matrix(size, rate, np.geomspace(40.0, min(16_000.0, rate * 0.45), 27))
    powers = np.concatenate([frames @ bands for frames in power_frames(mono(samples), size, hop)])
    # Without a floor every sound out of silence would be an equally great event.
    loud = np.quantile(powers, 0.99, axis=0)
    floor = np.maximum(loud, loud.max() * 1e-3) * 10 ** (-_RANGE_DB / 10) + 1e-12
    levels = np.log(powers + floor.astype(np.float32))
    return np.clip(levels[2:] - levels[:-2], 0, None), rate / hop


@dataclass(frozen=True, slots=True)
class _Periods:
    """What repeats: agreement of the onsets with themselves by delay `[frames]`, 1 at none, and their
    power spectrum by frequency, for a recording of `length` frames."""

    agreement: NDArray[np.float64]
    spectrum: NDArray[np.float64]
    length: int
    fps: float

    @classmethod
    def of(cls, rises: NDArray[np.float32], fps: float) -> _Periods | None:
        """None without events.

        Half of it comes from the sum of all bands, which tells where events are; the other half from the
        bands one by one, which tell a kick from a hi-hat and so a beat from an off-beat.
        """
        if len(rises) < 4 or rises.max() < 1e-3:
            return None
        agreement = np.zeros(len(rises))
        spectrum: NDArray[np.float64] = np.zeros(1)
        for curves in (rises.mean(axis=1, dtype=np.float64)[:, None], rises.astype(np.float64)):
            events = _events(curves, fps)
            size = 1 << (2 * len(events) - 1).bit_length()
            power = (np.abs(np.fft.rfft(events, size, axis=0)) ** 2).sum(axis=1)
            raw = np.fft.irfft(power, size)[: len(events)]
            if raw[0] <= 0:
                return None
            agreement += 0.5 * raw / raw[0]
            spectrum = spectrum + power / (raw[0] * len(rises))
        # Long delays compare fewer frames.
        compared = np.arange(len(agreement), 0, -1) / len(agreement)
        agreement = np.convolve(agreement / np.maximum(compared, 0.2), (0.25, 0.5, 0.25), "same")
        return cls(agreement, spectrum, len(rises), fps)

    def comb(self, bpm: float, beats: int = len(_BEAT_WEIGHTS)) -> float:
        """Mean agreement at 1 to `beats` beats of `bpm`, as far as two thirds of the recording allow."""
        delays = np.arange(1, beats + 1) * (60.0 * self.fps / bpm)
        delays = delays[delays < 0.7 * len(self.agreement)]
        if not len(delays):
            return 0.0
        weights = np.resize(_BEAT_WEIGHTS, len(delays))
        values = np.interp(delays, np.arange(len(self.agreement)), self.agreement)
        return max(0.0, float(np.average(values, weights=weights)))

    def pulse(self, bpm: float) -> float:
        """How much of the onsets goes with the beat and its half. A beat that contradicts the bars (three
        eighths where all eighths sound) repeats like a true one, but no event follows its pulse."""
        step = bpm / (60.0 * self.fps) * 2 * (len(self.spectrum) - 1)
        total = 0.0
        for factor, weight in ((1, 1.0), (2, 0.5)):
            at = round(factor * step)
            total += weight * float(self.spectrum[at - 1 : at + 2].max(initial=0.0))
        return total


def _events(curves: NDArray[np.float64], fps: float) -> NDArray[np.float64]:
    """What of each column stands above its mean over a second, without a mean; the loudest tamed."""
    span = int(fps) | 1
    sums = np.cumsum(np.pad(curves, ((span // 2 + 1, span // 2), (0, 0)), mode="edge"), axis=0)
    local = (sums[span:] - sums[:-span]) / span
    events = np.clip(curves - local, 0, None)
    events = np.sqrt(np.minimum(events, np.quantile(events, 0.995, axis=0)))
    return np.asarray(events - events.mean(axis=0))


def _tapped_octave(periods: _Periods, bpm: float) -> float:
    """`bpm`, its half or its double: the one a listener would tap, where the bars agree with it."""
    octaves = [b for b in (bpm / 2, bpm, bpm * 2) if MIN_BPM <= b <= MAX_BPM]
    return max(octaves, key=lambda b: periods.comb(b) * math.exp(-0.5 * (math.log2(b / _FAVOURITE_BPM) / 0.6) ** 2))


def _refined(periods: _Periods, bpm: float) -> float:
    """The best tempo near `bpm`, over ever longer combs: a small error adds up over many beats."""
    width = 0.01
    for beats in (8, 16, 32, 64):
        candidates = bpm * (1 + width * np.linspace(-1, 1, 81))
        bpm = float(candidates[int(np.argmax([periods.comb(float(c), beats) for c in candidates]))])
        width /= 2.5
    return bpm


def _confidence(candidates: NDArray[np.float64], scores: NDArray[np.float64], best: int) -> float:
    """How far the best tempo stands out: its strength, against the best one that is not an octave of it."""
    octaves = np.log2(candidates / candidates[best])
    related = np.abs(octaves - np.round(octaves)) < 0.04
    rival = float(scores[~related].max(initial=0.0))
    return float(np.clip(1 - rival / scores[best], 0, 1))


def _octaves(periods: _Periods, bpm: float) -> dict[str, float]:
    strengths = {name: periods.comb(bpm * factor) for name, factor in (("half", 0.5), ("same", 1), ("double", 2))}
    top = max(*strengths.values(), 1e-9)
    return {name: strength / top for name, strength in strengths.items()}
