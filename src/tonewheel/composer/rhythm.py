"""Syllables onto the grid: dynamic programming over positions.

Stressed syllables want strong slots, unstressed ones avoid them, notes have a natural length, the line
ends with a breath, and a line that answers another likes its rhythm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_FAR = 1e9


@dataclass(frozen=True, slots=True)
class Slots:
    """The window of a line. `weights[k]` is the metric weight of grid step k, `pickup` the steps before its
    first downbeat, `breath` the steps at its end that no syllable starts in."""

    weights: np.ndarray
    pickup: int
    breath: int
    per_beat: int


@dataclass(frozen=True, slots=True)
class Words:
    """The syllables of a line: stress, whether a word starts, and how long each wants to be against the mean."""

    stresses: tuple[bool, ...]
    starts: tuple[bool, ...]
    shares: tuple[float, ...]


def place_syllables(
    words: Words, slots: Slots, *, motif: Sequence[int] = (), motif_weight: float = 0.8, syncopation: float = 0.3,
    rng: np.random.Generator,
) -> list[int]:  # fmt: skip
    """A grid step for each syllable, rising. There must be at least as many steps as syllables.

    `motif` is the positions of the line that this one echoes.
    """
    count, room = len(words.stresses), len(slots.weights)
    latest = room - slots.breath if room - slots.breath >= count else room
    weights = _swayed(slots, syncopation, rng)
    taste = rng.uniform(0, 0.5, room)
    taste[[p for p in motif if 0 <= p < room]] += motif_weight
    spacing = max(1.0, (latest - slots.pickup) / count)
    first_stress = next((i for i, s in enumerate(words.stresses) if s), 0)
    here = np.arange(room)

    total = _value(words.stresses[0], weights) + taste - 0.22 * np.abs(here - slots.pickup)
    total[latest:] = -_FAR
    if first_stress == 0:
        total[: slots.pickup] = -_FAR
    back = np.zeros((count, room), int)
    longest = max(int(spacing * 3) + 1, 2 * slots.per_beat)
    for i in range(1, count):
        best = _best_step(total, spacing * words.shares[i - 1], min(longest, room - 1), back[i])
        total = best + _value(words.stresses[i], weights) + taste
        if i == first_stress:
            total[: slots.pickup] = -_FAR  # the first stress is on or after the downbeat
        total[latest:] = -_FAR
    at = int(np.argmax(total + 0.1 * here + 0.6 * weights))  # a line fills its room and ends on a beat
    if total[at] <= -_FAR / 2:
        return [i * room // count for i in range(count)]
    path = [at]
    for i in range(count - 1, 0, -1):
        at -= int(back[i][at])
        path.append(at)
    return path[::-1]


def _best_step(total: np.ndarray, ideal: float, longest: int, gaps: np.ndarray) -> np.ndarray:
    """For each step the best total over all gaps from the syllable before; writes the gaps."""
    best = np.full(len(total), -_FAR)
    for gap in range(1, longest + 1):
        reached = np.full(len(total), -_FAR)
        reached[gap:] = total[:-gap] - 1.0 * np.log2(gap / ideal) ** 2
        better = reached > best
        best[better] = reached[better]
        gaps[better] = gap
    return best


def _value(stressed: bool, weights: np.ndarray) -> np.ndarray:
    if stressed:
        value: np.ndarray = 1.7 * weights
        return value
    soft: np.ndarray = 0.35 * np.minimum(weights, 0.4) - 0.7 * np.maximum(weights - 0.7, 0)
    return soft


def _swayed(slots: Slots, syncopation: float, rng: np.random.Generator) -> np.ndarray:
    """Metric weights with some strong slots anticipated by one step: that is where the line syncopates."""
    weights = slots.weights.copy()
    for step in range(slots.pickup + 2, len(weights)):
        if weights[step] >= 0.6 and weights[step] < 1.0 and rng.random() < syncopation * 0.6:
            weights[step - 1], weights[step] = weights[step] + 0.05, weights[step - 1]
    return weights


def spoken_words(stresses: Sequence[bool], starts: Sequence[bool], rng: np.random.Generator) -> Words:
    """Words that are really sung: stressed and final syllables are longer, each a little in its own way."""
    ends = [*starts[1:], True]
    shares = (
        (1.12 if stressed else 0.85) * (1.15 if ends_word else 0.92) * float(2 ** rng.uniform(-0.35, 0.35))
        for stressed, ends_word in zip(stresses, ends, strict=True)
    )
    return Words(tuple(stresses), tuple(starts), tuple(shares))


# Rhythmic cells of invented lines: relative lengths, repeated through a line; a cell of its own makes a tune known.
_CELLS = (
    (1.5, 0.5, 1, 1), (1, 1, 2), (0.75, 0.75, 1.5), (1, 0.5, 0.5, 2), (0.5, 0.5, 1), (1.5, 1.5, 1), (2, 1, 1),
    (0.5, 1, 0.5, 2), (1, 0.5, 1.5), (3, 1, 2), (0.5, 0.5, 0.5, 0.5, 2), (1.5, 0.5), (1, 1, 1, 3),
)  # fmt: skip


def invented_words(seconds: float, most: int, density: float, rng: np.random.Generator) -> Words:
    """A line of `seconds` without words, at most `most` notes: a rhythmic cell repeated, long notes stressed, so
    that the tune can be sung. `density` 0-1 sets how many notes a second has (speech has four or five)."""
    count = min(most, max(4, round(seconds * (0.6 + 2.2 * density) + rng.uniform(-0.8, 0.8))))
    cell = _CELLS[int(rng.integers(0, len(_CELLS)))]
    shares = [cell[i % len(cell)] for i in range(count)]
    mean = sum(shares) / count
    stresses = [i % len(cell) == 0 or share >= 1.5 for i, share in enumerate(shares)]
    stresses[-1] = True
    starts = [i % len(cell) == 0 for i in range(count)]
    return Words(tuple(stresses), tuple(starts), tuple(s / mean for s in shares))
