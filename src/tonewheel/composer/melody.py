"""The pitches of a line: Viterbi over pairs of pitches (second order).

The last two pitches are the state, because what makes a line sound composed is its second difference:
going on by step, turning back after a leap, not rocking between two notes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

_NEVER = 1e6
MAX_LEAP = 9  # semitones within a phrase
_LEAP_COST = {0: 0.95, 1: 0.1, 2: 0.0, 3: 0.5, 4: 0.65, 5: 1.1, 6: 4.0, 7: 1.6, 8: 3.0, 9: 3.2}


@dataclass(frozen=True, slots=True)
class Slot:
    """One note to be pitched: how strong its place is (0-1), how long it sounds in quarters, the chord over it."""

    strength: float
    quarters: float
    chord: tuple[int, ...]

    @property
    def exposed(self) -> bool:
        """Whether the ear hears it as harmony: a strong beat or a long note."""
        return self.strength >= 0.8 or self.quarters >= 1.4

    @property
    def foreign_cost(self) -> float:
        """What a note outside the chord costs here: little in passing, much where it is heard."""
        if self.exposed:
            return 6.0
        return 1.5 if self.strength >= 0.6 or self.quarters >= 0.9 else 0.4


@dataclass(frozen=True, slots=True)
class Contour:
    """Where a line goes: `centre` in MIDI notes, `rise` in semitones of its arch, `peak` 0-1 where it culminates,
    `slope` from first to last note."""

    centre: float
    rise: float
    peak: float
    slope: float

    def at(self, t: float) -> float:
        side = t / self.peak if t < self.peak else (1 - t) / (1 - self.peak)
        arch = np.sin(0.5 * np.pi * min(1.0, max(0.0, side)))
        return float(self.centre + self.rise * (arch - 0.5) + self.slope * (t - 0.5))


@dataclass(frozen=True, slots=True)
class Cadence:
    """Pitch classes a line may end on, the wanted ones first, and how much that matters."""

    wanted: tuple[int, ...]
    avoid: tuple[int, ...] = ()
    weight: float = 2.5


def pitch_line(
    slots: Sequence[Slot], pitches: Sequence[int], contour: Contour, cadence: Cadence, *,
    echo: Sequence[int | None] = (), echo_weight: float = 1.3, before: int | None = None,
    home: Sequence[int] = (), rng: np.random.Generator,
) -> list[int]:  # fmt: skip
    """A pitch out of `pitches` (rising MIDI notes) for each slot.

    `echo[i]` is the pitch that slot i had in the line this one answers, `before` the last note of the phrase before;
    a pitch outside the scale `home` is used only under a chord that brings it.
    """
    n = len(slots)
    if n == 0:
        return []
    notes = np.array(pitches)
    bend = _bend_cost(tuple(pitches))
    leap = _leap_cost(tuple(pitches))
    own, foreign = _own_costs(slots, notes, contour, cadence, home=home, rng=rng)
    for i, target in enumerate(echo[:n]):
        if target is not None:
            own[i] -= echo_weight * (notes == target) - 0.05 * np.minimum(np.abs(notes - target), 8)
    if before is not None:
        apart = np.abs(notes - before)
        own[0] += 0.25 * np.maximum(apart - 4, 0) + 20.0 * (apart > MAX_LEAP)
    if n == 1:
        return [int(notes[own[0].argmin()])]

    def step(i: int) -> np.ndarray:
        """Cost of moving from slot i-1 [rows] to slot i [columns]; foreign notes are left and met by step."""
        wide = np.maximum(np.abs(notes[:, None] - notes[None, :]) - 2, 0)
        hop: np.ndarray = leap + 0.5 * wide * (foreign[i - 1][:, None] + 0.7 * foreign[i][None, :])
        slow = max(slots[i - 1].quarters, 0.25)
        if slow >= 1.0:
            hop = hop - 0.25 * np.minimum(wide, 3) * 0.3  # after a long note a leap is natural
        return hop

    total = own[0][:, None] + own[1][None, :] + step(1)  # [a, b]
    back: list[np.ndarray] = []
    for i in range(2, n):
        paths = total[:, :, None] + bend  # [a, b, c]
        best = paths.argmin(axis=0)
        back.append(best)
        total = np.take_along_axis(paths, best[None], axis=0)[0] + step(i) + own[i][None, :]
    a, b = np.unravel_index(int(total.argmin()), total.shape)
    out = [int(b), int(a)]
    for best in reversed(back):
        out.append(int(best[out[-1], out[-2]]))
    return [int(notes[i]) for i in reversed(out)]


def _own_costs(
    slots: Sequence[Slot], notes: np.ndarray, contour: Contour, cadence: Cadence, *,
    home: Sequence[int], rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """What each pitch costs in each slot by itself [slot, pitch], and which pitches are foreign to the chord."""
    n = len(slots)
    own = rng.uniform(0, 0.7, (n, len(notes)))
    foreign = np.zeros((n, len(notes)), bool)
    classes = notes % 12
    outside = ~np.isin(classes, home) if home else np.zeros(len(notes), bool)
    for i, slot in enumerate(slots):
        in_chord = np.isin(classes, slot.chord)
        foreign[i] = ~in_chord
        clash = ~in_chord & np.isin((classes - 1) % 12, slot.chord)  # a minor ninth over a chord tone
        own[i] += (foreign[i] + 0.9 * clash) * slot.foreign_cost + 0.5 * clash
        own[i] += 8.0 * (outside & foreign[i])
        target = contour.at(i / max(n - 1, 1))
        own[i] += 0.045 * (notes - target) ** 2
    last = np.full(len(notes), cadence.weight)
    last[np.isin(classes, cadence.wanted)] = 0.0
    if cadence.wanted:
        last[classes == cadence.wanted[0]] -= 0.5
    last[np.isin(classes, cadence.avoid)] += cadence.weight
    own[-1] += last
    return own, foreign


@lru_cache(maxsize=256)
def _leap_cost(pitches: tuple[int, ...]) -> np.ndarray:
    """[a, b]: cost of the interval."""
    table = np.array([_LEAP_COST.get(i, _NEVER) for i in range(128)])
    notes = np.array(pitches)
    cost: np.ndarray = table[np.abs(notes[:, None] - notes[None, :])]
    return cost


@lru_cache(maxsize=256)
def _bend_cost(pitches: tuple[int, ...]) -> np.ndarray:
    """[a, b, c]: cost of how the line bends at b."""
    notes = np.array(pitches)
    first = notes[None, :, None] - notes[:, None, None]  # b - a
    second = notes[None, None, :] - notes[None, :, None]  # c - b
    same_way = np.sign(first) * np.sign(second) > 0
    rocking = (first + second == 0) & (first != 0)
    small = (np.abs(first) <= 2) & (np.abs(second) <= 2)
    leapt = np.abs(first) >= 5
    cost = np.zeros(np.broadcast_shapes(first.shape, second.shape))
    cost += 2.0 * rocking
    cost += 1.8 * ((first == 0) & (second == 0))
    cost -= 0.5 * (same_way & small)
    cost += leapt * same_way * np.where(np.abs(second) <= 2, 0.8, 2.5)
    cost -= 0.5 * (leapt & ~same_way & (np.abs(second) <= 2) & (second != 0) & ~rocking)
    cost += 0.8 * ((np.abs(first) >= 3) & (np.abs(second) >= 3))
    cost += np.where(np.abs(first + second) > 12, 3.0, 0.0)
    return cost
