"""Which chord sounds when: the plan's chords on the grid, and progressions of the style where it has none."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tonewheel.composer.grid import STEPS_PER_QUARTER, Grid
from tonewheel.styles.schema import Style
from tonewheel.theory import Chord, Key, bar_chords, parse_chord, roman_chord

# For a style whose progressions fit neither the mode of the plan nor its neighbours.
_PLAIN = {
    "major": {"verse": (("I", "V", "vi", "IV"), ("I", "vi", "IV", "V")), "chorus": (("IV", "I", "V", "vi"),)},
    "minor": {"verse": (("i", "VI", "III", "VII"), ("i", "iv", "VI", "VII")), "chorus": (("VI", "VII", "i", "III"),)},
}
_STAND_IN = {
    "intro": ("verse",), "outro": ("verse",), "pre-chorus": ("bridge", "verse"), "bridge": ("pre-chorus", "chorus"),
    "instrumental": ("chorus",), "verse": (), "chorus": (),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Span:
    """A chord and where it sounds; `start` and `duration` in quarters on the unswung grid."""

    start: float
    duration: float
    chord: Chord
    symbol: str

    @property
    def end(self) -> float:
        return self.start + self.duration


def tonic_chord(key: Key) -> str:
    """The plain tonic triad, for an ending."""
    return Chord(key.tonic, "m" if key.is_minor else "", key.tonic).symbol(key.names)


def choose_progression(style: Style, key: Key, kind: str, bars: int, rng: random.Random) -> tuple[str, ...]:
    """`bars` entries of chord symbols for a section of this kind: one progression of the style repeated,
    its last two bars turned to a cadence where the style has one."""
    tables = _tables(style, key)
    kinds = [k for k in (kind, *_STAND_IN.get(kind, ("verse",)), "verse") if tables.get(k)]
    cycle = rng.choice(tables[kinds[0]])
    entries = [cycle[i % len(cycle)] for i in range(bars)]
    endings = [c for c in tables.get("cadence", ()) if len(c) <= bars // 2]
    if endings and bars >= 4 and kind != "intro":
        ending = rng.choice(endings)
        entries[bars - len(ending) :] = ending
    return tuple(_in_key(entry, key) for entry in entries)


def _tables(style: Style, key: Key) -> dict[str, tuple[tuple[str, ...], ...]]:
    found = style.progressions.get(key.mode)
    if found:
        return {kind: tuple(alternatives) for kind, alternatives in found.items()}
    return {kind: tuple(rows) for kind, rows in _PLAIN["minor" if key.is_minor else "major"].items()}


def _in_key(entry: str, key: Key) -> str:
    return "|".join(roman_chord(numeral, key).symbol(key.names) for numeral in bar_chords(entry))


def lay_bar(entry: str, start: float, grid: Grid) -> list[Span]:
    """The chords of one bar as spans from `start`; several share the bar equally, rounded to beats or,
    where there are more chords than beats, to steps."""
    symbols = bar_chords(entry)[: grid.steps]
    beat = 4 / grid.lower if len(symbols) <= grid.upper else 1 / STEPS_PER_QUARTER
    slots = round(grid.bar / beat)
    edges = [round(i * slots / len(symbols)) * beat for i in range(len(symbols) + 1)]
    return [
        Span(start + a, b - a, parse_chord(symbol), symbol)
        for symbol, a, b in zip(symbols, edges, edges[1:], strict=False)
        if b > a
    ]
