"""Tempo of a recording, told from its onsets alone.

The onset curve (rise of log band energies) is compared with itself at every delay; a tempo is as
good as the mean agreement at one to several of its beats. `estimate_tempo` assumes a steady one, as in
everything the composer makes; `tempo_course` follows changes. Which octave a listener would tap is open to
debate, so the half and the double tempo are reported with their strengths.
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
_CANDIDATES = np.exp(np.arange(np.log(MIN_BPM), np.log(MAX_BPM), 0.004))
_COARSE = _CANDIDATES[::3]  # for windows, which do not tell tempi 1 % apart
_WINDOW_S = 12.0
_CHANGE_COST = 8.0
_STEADY = 1.08  # local tempi that differ by less are one
_RISE = 0.65  # of a window
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
    return tempo_of_onsets(*onset_curves(samples, rate))


def tempo_of_onsets(rises: NDArray[np.float32], fps: float) -> Tempo | None:
    """Like `estimate_tempo`, from what `onset_curves` found."""
    periods = _Periods.of(rises, fps)
    if periods is None:
        return None
    scores = _scores(periods, _CANDIDATES)
    best = int(np.argmax(scores))
    if scores[best] <= 0:
        return None
    bpm = _refined(periods, _tapped_octave(periods, float(_CANDIDATES[best])))
    return Tempo(bpm, _confidence(_CANDIDATES, scores, best), _octaves(periods, bpm))


def tempo_course(rises: NDArray[np.float32], fps: float) -> NDArray[np.float64]:
    """The tempo of every frame `[frames]` in BPM, following changes; one value throughout where it is steady.

    Windows of 12 s are judged alone; of all ways through them the one is taken that fits best and changes least
    (Viterbi). Empty without a tempo.
    """
    whole = tempo_of_onsets(rises, fps)
    if whole is None:
        return np.empty(0)
    size, hop = round(_WINDOW_S * fps), round(_WINDOW_S * fps / 4)
    starts = list(range(0, len(rises) - size + hop, hop))
    if len(starts) > 2:
        path = _likeliest([_window_scores(rises[s : s + size], fps) for s in starts])
        local = _COARSE[path]
        if local.max() > _STEADY * local.min():
            middles = np.array(starts) + size / 2
            return np.asarray(np.interp(np.arange(len(rises)), middles, local))
    return np.full(len(rises), whole.bpm)


def _scores(periods: _Periods, candidates: NDArray[np.float64]) -> NDArray[np.float64]:
    """How well each tempo explains the onsets and how readily it is tapped."""
    strengths = periods.combs(candidates) * (0.1 + periods.pulses(candidates))
    preference = np.exp(-0.5 * (np.log2(candidates / _FAVOURITE_BPM) / _PRIOR_OCTAVES) ** 2)
    return np.asarray(strengths * preference)


def _window_scores(rises: NDArray[np.float32], fps: float) -> NDArray[np.float64]:
    periods = _Periods.of(rises, fps)
    return np.ones(len(_COARSE)) if periods is None else _scores(periods, _COARSE)


def _likeliest(scores: list[NDArray[np.float64]]) -> list[int]:
    """Indices of `_COARSE`, one a window. A step away costs as its logarithm, whatever its size beyond a third."""
    evidence = [np.log(s / max(float(s.max()), 1e-12) + 1e-3) for s in scores]
    logs = np.log(_COARSE)
    cost = _CHANGE_COST * np.minimum(np.abs(logs[:, None] - logs[None, :]), 0.3)
    total, came_from = evidence[0], []
    for values in evidence[1:]:
        ways = total[None, :] - cost
        came_from.append(ways.argmax(axis=1))
        total = ways.max(axis=1) + values
    path = [int(total.argmax())]
    for back in reversed(came_from):
        path.append(int(back[path[-1]]))
    return path[::-1]


def fold(bpm: float, reference: float) -> float:
    """`bpm` moved by octaves to where it lies nearest `reference`."""
    return float(bpm * 2.0 ** round(np.log2(reference / bpm)))


def onset_curves(samples: Samples, rate: int) -> tuple[NDArray[np.float32], float]:
    """How much new energy arrives in each band and frame `[frames, bands]`, and the frames a second (about 100).

    The rise is taken of logarithms in bands a third of an octave wide, so that a quiet chord change counts
    beside a loud drum, and against the frame before last, so that soft attacks count too.
    """
    hop = max(1, round(rate / _FRAMES_A_SECOND))
    size = _window(rate)
    bands = band_matrix(size, rate, np.geomspace(40.0, min(16_000.0, rate * 0.45), 27))
    powers = np.concatenate([frames @ bands for frames in power_frames(mono(samples), size, hop)])
    # Without a floor every sound out of silence would be an equally great event.
    loud = np.quantile(powers, 0.99, axis=0)
    floor = np.maximum(loud, loud.max() * 1e-3) * 10 ** (-_RANGE_DB / 10) + 1e-12
    levels = np.log(powers + floor.astype(np.float32))
    return np.clip(levels[2:] - levels[:-2], 0, None), rate / hop


def frame_time(rate: int, fps: float) -> float:
    """Seconds to add to a frame of `onset_curves` for the event it tells of.

    A frame compares two that lie two hops apart and are a window long; the rise is steepest when the event has come
    a little way into the later window. Measured on clicks, at 22,050 to 48,000 Hz.
    """
    size = _window(rate)
    return 1 / fps + _RISE * size / rate


def _window(rate: int) -> int:
    """Samples of a window of `onset_curves`: 32 to 64 ms."""
    return 2048 if rate >= 32_000 else 1024


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
        """`combs` of one tempo."""
        return float(self.combs(np.array([bpm]), beats)[0])

    def combs(self, bpm: NDArray[np.float64], beats: int = len(_BEAT_WEIGHTS)) -> NDArray[np.float64]:
        """Mean agreement at 1 to `beats` beats of each tempo, as far as two thirds of the recording allow."""
        delays = np.arange(1, beats + 1) * (60.0 * self.fps / bpm[:, None])
        weights = np.resize(_BEAT_WEIGHTS, beats) * (delays < 0.7 * len(self.agreement))
        values = np.interp(delays, np.arange(len(self.agreement)), self.agreement)
        return np.asarray(np.maximum(0.0, (values * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-9)))

    def pulses(self, bpm: NDArray[np.float64]) -> NDArray[np.float64]:
        """How much of the onsets goes with the beat and its half. A beat that contradicts the bars (three
        eighths where all eighths sound) repeats like a true one, but no event follows its pulse."""
        step = bpm / (60.0 * self.fps) * 2 * (len(self.spectrum) - 1)
        padded = np.pad(self.spectrum, 2)
        around = np.maximum(np.maximum(padded[1:-3], padded[2:-2]), padded[3:-1])
        total = np.zeros(len(bpm))
        for factor, weight in ((1, 1.0), (2, 0.5)):
            at = np.round(factor * step).astype(int)
            total += weight * np.where(at < len(around), around[np.minimum(at, len(around) - 1)], 0.0)
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
