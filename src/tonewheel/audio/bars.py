"""Which pulses are beats, and which beats begin a bar.

A chain of pulses may lie an octave off the beat, or between the beats. Every reading of it, half, same or double
tempo, on or off, three or four to the bar, is scored by what is usual in music: more and deeper onsets on a beat
than between beats, a new harmony and a low onset on the first beat, bright ones on the second and fourth, and a
tempo that people tap. Weights were tried on songs of the built-in composer; the result hardly depends on them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tonewheel.audio.resample import resample
from tonewheel.audio.spectrum import Samples, mono, power_frames
from tonewheel.audio.tempo import frame_time

Values = NDArray[np.float64]

SLOWEST_BPM, FASTEST_BPM = 45.0, 220.0
_FAVOURITE_BPM, _PRIOR_OCTAVES, _PRIOR_WEIGHT = 105.0, 0.8, 0.5
_ONSET_WEIGHT, _LOW_WEIGHT = 0.25, 0.25  # of logarithms: beats against what lies between them
_HARMONY_WEIGHT, _BASS_WEIGHT, _PEAK_WEIGHT, _BACKBEAT_WEIGHT = 1.0, 0.5, 0.3, 0.2
_EMPTY_WEIGHT = 0.5
_THREES = 0.1  # bars of three are rarer
_FEWEST = 8  # beats from which bars are told
_LOW_BANDS, _HIGH_BANDS = slice(0, 6), slice(17, None)  # of onset_curves: below 160 Hz, above 2 kHz
_REACH_S = 0.03
_PEAK_FRAMES = 8  # a window of onset_curves and some decay
_LEAST_HARMONY = 0.02  # of a change; below it is noise, and clicks have nothing else

_RATE, _SIZE, _HOP = 11_025, 2048, 512
_LONGEST_HARMONY_S = 0.6
_SOFT = 0.3  # of the mean level; what is much softer than that says little of the harmony
_GAP_S = 0.06  # a span ends so much before the next begins: its last frames would hear the next


@dataclass(frozen=True, slots=True)
class _Places:
    """What happens at half pulses, each value in units of its mean: onsets, low ones, high ones, peaks, new harmony."""

    onset: Values
    low: Values
    high: Values
    peak: Values
    harmony: Values


@dataclass(frozen=True, slots=True)
class _Reading:
    """Half pulses `first, first + step, …` are the beats; the bar has `meter` of them and begins with `downbeat`."""

    step: int
    first: int
    meter: int
    downbeat: int


def read_bars(
    pulse: NDArray[np.int64], rises: NDArray[np.float32], fps: float, samples: Samples, rate: int
) -> tuple[Values, Values]:
    """Beats and downbeats, in frames of `rises` (`onset_curves` of `samples`), from a chain of pulses in frames.

    Without downbeats where there are fewer than 8 beats.
    """
    halves = np.interp(np.arange(2 * len(pulse) - 1) / 2, np.arange(len(pulse)), pulse)
    period_s = float(np.median(np.diff(pulse))) / fps
    places = _places(halves, rises, fps, samples, rate)
    readings = list(_readings(len(halves), 60 / period_s))
    if not readings:
        return pulse.astype(np.float64), np.empty(0)
    best = max(readings, key=lambda r: _score(r, places, 120 / period_s / r.step))
    beats = halves[best.first :: best.step]
    return beats, beats[best.downbeat :: best.meter]


def _readings(halves: int, bpm: float) -> Iterator[_Reading]:
    for step in (1, 2, 4):
        if not SLOWEST_BPM <= 2 * bpm / step <= FASTEST_BPM:
            continue
        for first in range(step):
            if (halves - first) // step < _FEWEST:
                continue
            for meter in (3, 4):
                for downbeat in range(meter):
                    yield _Reading(step, first, meter, downbeat)


def _score(reading: _Reading, places: _Places, bpm: float) -> float:
    score = -_PRIOR_WEIGHT / 2 * (math.log2(bpm / _FAVOURITE_BPM) / _PRIOR_OCTAVES) ** 2
    on = slice(reading.first, None, reading.step)
    if reading.step > 1:
        off = slice(reading.first + reading.step // 2, None, reading.step)
        score += _ONSET_WEIGHT * _ratio(places.onset[on], places.onset[off])
        score += _LOW_WEIGHT * _ratio(places.low[on], places.low[off])
    beats = places.onset[on]
    score -= _EMPTY_WEIGHT * max(0.0, abs(_ratio(beats[::2], beats[1::2])) - 1)  # every other beat without an event
    score -= _THREES * (reading.meter == 3)

    def by_beat(values: Values) -> list[float]:
        beats = np.roll(values[on], -reading.downbeat)
        return [float(beats[k :: reading.meter].mean()) for k in range(reading.meter)]

    harmony, low, high, peak = (by_beat(v) for v in (places.harmony, places.low, places.high, places.peak))
    # Against the strongest other beat: in bars read twice too long the third beat has as much as the first.
    score += _HARMONY_WEIGHT * (harmony[0] - max(harmony[1:]))
    score += _BASS_WEIGHT * (low[0] - sum(low[1:]) / (reading.meter - 1))
    score += _PEAK_WEIGHT * (peak[0] - sum(peak[1:]) / (reading.meter - 1))
    if reading.meter == 4:
        score += _BACKBEAT_WEIGHT * (high[1] + high[3] - high[0] - high[2]) / 2
    return score


def _ratio(on: Values, off: Values) -> float:
    return math.log((float(on.mean()) + 0.05) / (float(off.mean()) + 0.05)) if len(off) else 0.0


def _places(halves: Values, rises: NDArray[np.float32], fps: float, samples: Samples, rate: int) -> _Places:
    peaks = _peaks(samples, round(rate / fps), len(rises))
    curves = (rises.mean(axis=1), rises[:, _LOW_BANDS].mean(axis=1), rises[:, _HIGH_BANDS].mean(axis=1), peaks)
    onset, low, high, peak = (_highest(c, halves, fps) for c in curves)
    span_s = min(_LONGEST_HARMONY_S, 2 * float(np.median(np.diff(halves))) / fps)
    shift_s = frame_time(rate, fps)
    harmony = _Harmony.of(samples, rate).changes(halves / fps + shift_s, span_s)
    return _Places(
        onset / (onset.mean() + 1e-9), low / (low.mean() + 1e-9), high / (high.mean() + 1e-9),
        peak / (peak.mean() + 1e-9), harmony / (harmony.mean() + _LEAST_HARMONY),
    )  # fmt: skip


def _peaks(samples: Samples, hop: int, frames: int) -> NDArray[np.float32]:
    """The largest sample of each frame `[frames]`. Frames of `onset_curves` tell of what is a window later."""
    signal = np.abs(mono(samples))
    blocks = signal[: len(signal) // hop * hop].reshape(-1, hop).max(axis=1)
    shifted = np.lib.stride_tricks.sliding_window_view(np.pad(blocks, (0, frames + _PEAK_FRAMES)), _PEAK_FRAMES)
    return np.asarray(shifted[:frames].max(axis=1), np.float32)


def _highest(curve: NDArray[np.float32], at: Values, fps: float) -> Values:
    """The most of `curve` near each place."""
    reach = max(1, round(_REACH_S * fps))
    padded = np.pad(curve, reach)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(axis=1)
    return np.asarray(windows[np.clip(np.round(at).astype(int), 0, len(curve) - 1)], np.float64)


@dataclass(frozen=True, slots=True)
class _Harmony:
    """How much each pitch class sounds, by time: running sums `[frames + 1, 12]` of vectors of length 1."""

    sums: Values

    @classmethod
    def of(cls, samples: Samples, rate: int) -> _Harmony:
        """Loose and quick, unlike `key.chroma`: it is compared with itself only."""
        signal = resample(mono(samples), rate, _RATE)
        hertz = np.fft.rfftfreq(_SIZE, 1 / _RATE)
        classes = np.zeros((len(hertz), 12), np.float32)
        used = np.flatnonzero((hertz > 55) & (hertz < 2000))
        classes[used, np.round(69 + 12 * np.log2(hertz[used] / 440)).astype(int) % 12] = 1
        chroma = np.concatenate([np.sqrt(power) @ classes for power in power_frames(signal, _SIZE, _HOP)])
        length = np.linalg.norm(chroma, axis=1, keepdims=True)
        units = chroma / (length + _SOFT * length.mean() + 1e-9)  # silence has none
        return cls(np.concatenate([np.zeros((1, 12)), np.cumsum(units, axis=0, dtype=np.float64)]))

    def changes(self, times: Values, span_s: float) -> Values:
        """1 - cosine between what sounds in `span_s` from each time on and before it: 0 = the same."""
        before = self._between(times - span_s, times - _GAP_S)
        after = self._between(times, times + span_s - _GAP_S)
        lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
        alike = (before * after).sum(axis=1) / np.maximum(lengths, 1e-9)
        return np.where(lengths > 1e-6, np.clip(1 - alike, 0, 1), 0.0)

    def _between(self, start: Values, end: Values) -> Values:
        last, centre = len(self.sums) - 1, _SIZE / 2
        first, stop = (np.clip(np.round((t * _RATE - centre) / _HOP).astype(int), 0, last) for t in (start, end))
        return np.asarray(self.sums[stop] - self.sums[first])
