"""Beats without weights: a tracker that goes by onsets alone, named "onset" in answers.

Three steps, each of its own: how fast (`tempo.tempo_course`), where (dynamic programming after Ellis, "Beat
Tracking by Dynamic Programming", 2007: the chain of events that lie nearly a beat apart and are strongest together),
and which of them count (`bars.Bars`: the octave, the beat or the off-beat, the first of the bar).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tonewheel.audio.bars import read_bars
from tonewheel.audio.rhythm import Rhythm
from tonewheel.audio.spectrum import Samples
from tonewheel.audio.tempo import frame_time, onset_curves, tempo_course

NAME = "onset"
_SHORTEST_S = 3.0
# How much it costs to leave the tempo: times the square of the logarithm of the ratio, against onsets of standard
# deviation 1. Music made at a desk keeps its tempo; 100, which is usual for played music, follows off-beats.
_TIGHTNESS = 400.0
_NONE: NDArray[np.float64] = np.empty(0)


def track_beats(samples: Samples, rate: int) -> Rhythm:
    """Beats and a guess at the downbeats of `samples [n, channels]`; none of silence, or of less than 3 s.

    Samples must be finite. A minute of stereo takes about half a second.
    """
    nothing = Rhythm(_NONE, _NONE)
    if len(samples) < _SHORTEST_S * rate:
        return nothing
    rises, fps = onset_curves(samples, rate)
    course = tempo_course(rises, fps)
    if not len(course):
        return nothing
    pulse = _chain(envelope(rises, fps), 60 * fps / course)
    if len(pulse) < 2:
        return nothing
    beats, downbeats = read_bars(pulse, rises, fps, samples, rate)
    shift = frame_time(rate, fps)
    inside = (beats / fps + shift >= 0) & (beats / fps + shift < len(samples) / rate)
    beats, downbeats = beats[inside] / fps + shift, downbeats / fps + shift
    return Rhythm(beats, downbeats[np.isin(downbeats, beats)])


def envelope(rises: NDArray[np.float32], fps: float) -> NDArray[np.float64]:
    """One curve of all bands `[frames]`: what stands above the mean of a second, in standard deviations."""
    mean = rises.mean(axis=1, dtype=np.float64)
    span = int(fps) | 1
    local = np.convolve(mean, np.full(span, 1 / span), "same")
    events = np.clip(mean - local, 0, None)
    events = np.minimum(events, np.quantile(events, 0.995))
    return np.asarray(events / max(float(events.std()), 1e-9))


def _chain(onsets: NDArray[np.float64], periods: NDArray[np.float64]) -> NDArray[np.int64]:
    """The best chain of frames: `onsets` along it, less what its steps differ from `periods` (both `[frames]`)."""
    count = len(onsets)
    score = onsets.copy()
    back = np.full(count, -1)
    logs = np.log(np.arange(1, int(2 * periods.max()) + 2))  # of steps 1, 2 …
    for frame in range(count):
        period = periods[frame]
        shortest, longest = int(period / 2), min(int(2 * period), frame)
        if longest < shortest or shortest < 1:
            continue
        penalty = _TIGHTNESS * (logs[shortest - 1 : longest] - np.log(period)) ** 2
        before = score[frame - longest : frame - shortest + 1][::-1] - penalty
        best = int(before.argmax())
        if before[best] > 0:
            score[frame] += before[best]
            back[frame] = frame - shortest - best
    last = count - 1 - int(score[::-1][: max(1, int(periods[-1]))].argmax())
    chain = [last]
    while back[chain[-1]] >= 0:
        chain.append(int(back[chain[-1]]))
    return np.array(chain[::-1], np.int64)
