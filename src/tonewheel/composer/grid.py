"""The grid: where steps, beats and bars lie in quarter notes, how strong they are, how they swing.

A step is a sixteenth note. Patterns of a style are written in its own metre; `fit_bar` brings them
into the metre of the plan, so that a foreign or hand-edited plan still plays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

STEPS_PER_QUARTER = 4
_SAME = 1e-6


@dataclass(frozen=True, slots=True)
class Grid:
    """A metre at a tempo. `upper`/`lower` is the time signature, `quarter_s` the seconds of a quarter;
    `swing` is the share of the first of two swung notes, `swing_pair` the quarters both take together."""

    upper: int
    lower: int
    quarter_s: float
    swing: float = 0.5
    swing_pair: float = 0.5

    @property
    def bar(self) -> float:
        """Quarters in a bar."""
        return self.upper * 4 / self.lower

    @property
    def steps(self) -> int:
        """Steps in a bar."""
        return self.upper * 16 // self.lower

    @property
    def compound(self) -> bool:
        """6/8, 9/8 and 12/8 count dotted quarters."""
        return self.lower == 8 and self.upper % 3 == 0 and self.upper > 3

    def at(self, quarter: float) -> float:
        """The swung time of a grid time, both in quarters."""
        if self.swing <= 0.5 or self.compound:
            return quarter
        pair = math.floor(quarter / self.swing_pair + _SAME)
        inside = max(quarter / self.swing_pair - pair, 0.0)
        if inside <= 0.5:
            inside *= 2 * self.swing
        else:
            inside = self.swing + (inside - 0.5) * 2 * (1 - self.swing)
        return (pair + inside) * self.swing_pair

    def strength(self, quarter: float) -> float:
        """Metric weight 0-1 of a grid time: 1 the downbeat, 0.1 an odd sixteenth."""
        pos = quarter % self.bar
        if self.bar - pos < _SAME:
            pos = 0.0
        return _strength(round(pos * 12), self.upper, self.lower)

    def quarters(self, milliseconds: float) -> float:
        """A span of clock time in quarters."""
        return milliseconds / 1000 / self.quarter_s


@lru_cache(maxsize=1024)
def _strength(twelfths: int, upper: int, lower: int) -> float:
    """`twelfths` of a quarter from the bar line (both sixteenths and triplets are whole)."""
    if twelfths == 0:
        return 1.0
    if lower == 8 and upper % 3 == 0 and upper > 3:
        if twelfths % 18 == 0:
            return 0.8
        return 0.4 if twelfths % 6 == 0 else 0.1
    if twelfths % 12 == 0:
        beat = twelfths // 12
        if upper * 4 // lower == 3:
            return 0.6
        return 0.8 if beat % 2 == 0 else 0.65
    if twelfths % 6 == 0:
        return 0.35
    return 0.2 if twelfths % 4 == 0 else 0.1


@lru_cache(maxsize=8192)
def fit_bar(row: str, row_steps: int, bar: int, upper: int, lower: int) -> str:
    """Bar number `bar` of the pattern `row` (bars of `row_steps` steps) as steps of a bar of `upper/lower`.

    The same metre passes through; a shorter bar is cut, a longer one goes on with the pattern's second
    half; compound metres take one beat of the pattern for each dotted quarter, as a shuffle.
    """
    steps = upper * 16 // lower
    if lower == 8 and upper % 3 == 0 and upper > 3:
        return _compound(row, bar, upper // 3)
    bars = max(1, len(row) // row_steps)
    at = (bar % bars) * row_steps
    one = row[at : at + row_steps]
    if steps <= row_steps:
        return one[:steps]
    tail = one[row_steps // 2 :] or one
    return (one + tail * (steps // len(tail) + 1))[:steps]


def _compound(row: str, bar: int, dotted: int) -> str:
    beats = [row[i : i + 4] for i in range(0, len(row), 4)]
    out = []
    for j in range(dotted):
        cell = beats[(bar * dotted + j) % len(beats)].ljust(4, ".")
        out.append(_shuffle(cell))
    return "".join(out)


def _shuffle(cell: str) -> str:
    """Four sixteenths as three eighths (six steps): first, second and third keep their place, a fourth
    without a third takes the third eighth."""
    first, second, third, fourth = tuple(cell)
    if third in ".-" and fourth not in ".-":
        third = fourth
    filler = ["-" if nxt == "-" else "." for nxt in (second, third, "-" if third == "-" else ".")]
    return first + filler[0] + second + filler[1] + third + filler[2]
