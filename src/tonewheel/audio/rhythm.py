"""What beats mean: tempo and its course, the meter, the number of each beat in its bar.

Whoever found the beats (`audio.beats`, a model), they are read here, so that the words mean the same everywhere.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]

_NEIGHBOURS = 8  # intervals to each side whose median is the local beat
_STRETCH = 16  # beats a local tempo is fitted over: four bars of four
_LEAST_STRETCH = 4
_MAX_METER = 12


@dataclass(frozen=True, slots=True)
class TempoFit:
    """The straight line through the beats (number against time), and how far they leave it.

    `bpm` is its slope; `drift_percent` how much faster the last beats are than the first, by the line through the
    local tempi; `deviation_ms` the root mean square distance of a beat from the line; `course` the local tempi:
    (seconds, BPM) of stretches of 16 beats.
    """

    bpm: float
    drift_percent: float
    deviation_ms: float
    course: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Meter:
    """`beats_per_bar` as counted between downbeats, and the share of bars that have as many."""

    beats_per_bar: int
    agreement: float


@dataclass(frozen=True, slots=True)
class Marker:
    """One beat: seconds, its bar (1 = the first whole one, 0 = what comes before it), its number in the bar from 1.

    Both are None when no downbeats are known, the number alone in an upbeat to a meter that is not known.
    """

    time: float
    bar: int | None
    beat: int | None


@dataclass(frozen=True)
class Rhythm:
    """Beats and downbeats in seconds, ascending; every downbeat is one of the beats."""

    beats: Times
    downbeats: Times

    @cached_property
    def bpm(self) -> float | None:
        """60 / median interval, one decimal, as Beat This clients know it; None with fewer than 2 beats.

        Quantised where beats lie on a grid of frames: `tempo` is not.
        """
        if len(self.beats) < 2:
            return None
        return round(60 / float(np.median(np.diff(self.beats))), 1)

    @cached_property
    def tempo(self) -> TempoFit | None:
        """By least squares over all beats; None with fewer than 3."""
        times, numbers = _counted(self.beats)
        if len(times) < 3:
            return None
        period, offset = np.polyfit(numbers, times, 1)
        deviation = times - (period * numbers + offset)
        course = _course(times, numbers)
        return TempoFit(
            bpm=60 / float(period),
            drift_percent=_drift(course),
            deviation_ms=1000 * math.sqrt(float(np.mean(deviation**2))),
            course=tuple(course),
        )

    @cached_property
    def meter(self) -> Meter | None:
        """None with fewer than 2 downbeats."""
        bars = np.diff(np.searchsorted(self.beats, self.downbeats))
        counted = Counter(int(n) for n in bars if 1 <= n <= _MAX_METER)
        if not counted:
            return None
        beats, times = counted.most_common(1)[0]
        return Meter(beats, times / len(bars))

    @cached_property
    def markers(self) -> tuple[Marker, ...]:
        """One a beat. Beats before the first downbeat are counted back from it, as an upbeat is."""
        if not len(self.downbeats):
            return tuple(Marker(float(t), None, None) for t in self.beats)
        bars = np.searchsorted(self.downbeats, self.beats, side="right")
        first = int(np.searchsorted(self.beats, self.downbeats[0]))
        made: list[Marker] = []
        for index, (time, bar) in enumerate(zip(self.beats, bars, strict=True)):
            if bar == 0:
                beat = (index - first) % self.meter.beats_per_bar + 1 if self.meter else None
            else:
                beat = 1 if not made or made[-1].bar != bar else int(made[-1].beat or 0) + 1
            made.append(Marker(float(time), int(bar), beat))
        return tuple(made)

    def to_dict(self) -> dict[str, Any]:
        """All of it in plain JSON types, rounded to what the ear could tell."""
        tempo = self.tempo
        return {
            "beats": self.beats.tolist(),
            "downbeats": self.downbeats.tolist(),
            "bpm": self.bpm,
            "num_beats": len(self.beats),
            "num_downbeats": len(self.downbeats),
            "tempo": None if tempo is None else {
                "bpm": round(tempo.bpm, 3),
                "drift_percent": round(tempo.drift_percent, 2),
                "deviation_ms": round(tempo.deviation_ms, 1),
                "course": [{"time": round(time, 3), "bpm": round(bpm, 2)} for time, bpm in tempo.course],
            },
            "meter": None if self.meter is None else asdict(self.meter),
            "markers": [asdict(marker) for marker in self.markers],
        }  # fmt: skip


def _counted(beats: Times) -> tuple[Times, Times]:
    """Beats and their numbers. A gap of two beats counts two; a beat far too early is left out of the count."""
    if len(beats) < 2:
        return beats, np.arange(len(beats), dtype=np.float64)
    intervals = np.diff(beats)
    times, numbers = [float(beats[0])], [0.0]
    for i, time in enumerate(beats[1:].tolist()):
        local = float(np.median(intervals[max(0, i - _NEIGHBOURS) : i + _NEIGHBOURS + 1]))
        steps = math.floor((time - times[-1]) / local + 0.5)
        if steps >= 1:
            times.append(time)
            numbers.append(numbers[-1] + steps)
    return np.array(times), np.array(numbers)


def _course(times: Times, numbers: Times) -> list[tuple[float, float]]:
    """Local tempi: (middle in seconds, BPM) of stretches of 16 beats, the rest joined to the last."""
    count = max(1, len(times) // _STRETCH)
    stretches = np.array_split(np.arange(len(times)), count)
    fits = [
        (float(times[s].mean()), 60 / float(np.polyfit(numbers[s], times[s], 1)[0]))
        for s in stretches
        if len(s) >= _LEAST_STRETCH
    ]
    return fits


def _drift(course: list[tuple[float, float]]) -> float:
    """Percent by which the line through the local tempi rises from the first stretch to the last."""
    if len(course) < 2:
        return 0.0
    times, tempi = (np.array(values) for values in zip(*course, strict=True))
    slope, offset = np.polyfit(times, tempi, 1)
    first, last = (slope * t + offset for t in (times[0], times[-1]))
    return 100 * float(last / first - 1)
