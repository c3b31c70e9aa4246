"""Forms: which sections a song has and how many bars each, so that they fill the asked length exactly.

A song of N bars lasts N × beats × 60 / tempo seconds, so the whole bars and the tempo are chosen together:
every template and every N that puts the tempo where it may be is weighed, and the tempo follows from N.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product

from pydantic import BaseModel, ConfigDict

from tonewheel.errors import InvalidRequest
from tonewheel.songs.plan import SectionRole
from tonewheel.songs.resources import data
from tonewheel.styles.schema import SectionKind, Style

MIN_BARS = 2
# An asked tempo is met this closely when whole bars allow it; up to the second figure it is bent and said so.
TEMPO_SHIFT = 0.03
MAX_TEMPO_SHIFT = 0.10
CHORUS_SHARE = 0.38  # of the song; measured by ear and stopwatch in facts/composer.md §7
MAX_INTRO_SHARE = 0.16
_MAX_CYCLES = 24
_JITTER = 0.65  # how much the seed may prefer one good form to another


@dataclass(frozen=True, slots=True)
class FormSection:
    """A section of the form; the last bar of the last section is the ring-out."""

    role: SectionRole
    bars: int


@dataclass(frozen=True, slots=True)
class Form:
    """Sections that fill a length exactly at `tempo` (beats a minute)."""

    id: str
    sections: tuple[FormSection, ...]
    tempo: float
    notes: tuple[str, ...] = field(default=())

    @property
    def bars(self) -> int:
        return sum(s.bars for s in self.sections)


Bars = dict[SectionRole, tuple[int, ...]]


class _Row(BaseModel):
    """A form in `data/forms.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    seconds: tuple[float, float]
    sections: tuple[SectionRole, ...]
    bars: Bars = {}
    club: bool = False
    cycles: tuple[tuple[SectionRole, ...], ...] = ()
    tail: tuple[SectionRole, ...] = ()


class _Table(BaseModel):
    """`data/forms.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bars: Bars
    energy: dict[SectionRole, float]
    ideal_s: dict[SectionRole, float]
    forms: tuple[_Row, ...]
    club_words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Template:
    """A form with its cycles written out; `choices` are the bars each role may have."""

    id: str
    seconds: tuple[float, float]
    roles: tuple[SectionRole, ...]
    club: bool
    choices: tuple[tuple[SectionRole, tuple[int, ...]], ...]


@lru_cache(maxsize=1)
def _table() -> _Table:
    return _Table.model_validate(data("forms"))


@lru_cache(maxsize=1)
def _templates() -> tuple[_Template, ...]:
    return tuple(t for row in _table().forms for t in _expand(row, _table().bars))


def _expand(row: _Row, common: Bars) -> Iterator[_Template]:
    bars = {**common, **row.bars}
    for count in range(_MAX_CYCLES if row.cycles else 1):
        middle = [role for i in range(count) for role in row.cycles[i % len(row.cycles)]]
        roles = (*row.sections, *middle, *row.tail)
        choices = tuple((role, bars[role]) for role in dict.fromkeys(roles))
        yield _Template(f"{row.id}-{count}" if row.cycles else row.id, row.seconds, roles, row.club, choices)


@dataclass(frozen=True, slots=True)
class _Filling:
    """One way to fill a template: bars by role (all sections of a role are equally long), and what it costs.

    `fixed` is the cost that no tempo changes; `octaves` are, a role, its weight and how many octaves its bars
    are from the ideal length at one second a bar.
    """

    bars: tuple[tuple[SectionRole, int], ...]
    fixed: float
    octaves: tuple[tuple[float, float], ...]

    def cost(self, bar_s: float) -> float:
        shift = math.log2(bar_s)
        return self.fixed + sum(weight * abs(octave + shift) for weight, octave in self.octaves)


@lru_cache(maxsize=256)
def _fillings(template: _Template) -> dict[int, tuple[_Filling, ...]]:
    """Total bars -> the ways to reach them."""
    counts = {role: template.roles.count(role) for role, _ in template.choices}
    found: dict[int, list[_Filling]] = {}
    for picked in product(*(options for _, options in template.choices)):
        bars = dict(zip(counts, picked, strict=True))
        total = sum(counts[role] * count for role, count in bars.items())
        if bars.get("intro", 0) <= MAX_INTRO_SHARE * total and _shapely(bars):
            found.setdefault(total, []).append(_weighed(template, bars, counts["chorus"] * bars["chorus"] / total))
    return {total: tuple(ways) for total, ways in found.items()}


def _weighed(template: _Template, bars: dict[SectionRole, int], chorus_share: float) -> _Filling:
    fixed = 2.0 * abs(chorus_share - CHORUS_SHARE)
    if len(template.roles) <= 3:
        fixed *= 0.4  # a jingle is nearly all hook
    if bars["outro"] in (2, 4, 8):  # an odd phrase before the ring-out
        fixed += 0.12
    if bars.get("verse") == 2 or bars["chorus"] < 4:
        fixed += 0.3
    ideal = _table().ideal_s
    octaves = tuple((0.42 if r in ("verse", "chorus") else 0.28, math.log2(n / ideal[r])) for r, n in bars.items())
    return _Filling(tuple(bars.items()), fixed, octaves)


def _shapely(bars: dict[SectionRole, int]) -> bool:
    """Proportions no listener would miss: a lift is not longer than what it lifts to."""
    chorus = bars.get("chorus", 99)
    verse = bars.get("verse", chorus)
    return (
        bars.get("pre-chorus", 0) <= min(verse, chorus)
        and bars.get("build", 0) <= chorus
        and bars.get("outro", 0) <= chorus + 1
        and bars.get("intro", 0) <= max(verse, chorus)
        and verse <= 2 * chorus
        and chorus <= 2 * verse
    )


# ── tempo ───────────────────────────────────────────────────────────────────────────────────────


def tempo_of(bars: int, beats_per_bar: int, duration_s: float) -> float:
    """The tempo at which `bars` bars last `duration_s` exactly."""
    return bars * beats_per_bar * 60.0 / duration_s


def _bars_at(tempo: float, beats_per_bar: int, duration_s: float) -> float:
    return duration_s * tempo / (60.0 * beats_per_bar)


def bar_counts(style: Style, duration_s: float, tempo: float | None) -> tuple[list[int], tuple[str, ...]]:
    """Whole-bar counts the song may have, and what must be said about it.

    Without an asked tempo: all that keep the style's range. With one: those nearest to it. Raises
    InvalidRequest when whole bars cannot come near the asked tempo (very short songs at very slow tempi).
    """
    beats = style.beats_per_bar
    if tempo is not None:
        return _near_tempo(tempo, style, duration_s)
    low, high = (_bars_at(t, beats, duration_s) for t in (style.tempo.min, style.tempo.max))
    counts = list(range(max(math.ceil(low - 1e-9), MIN_BARS), math.floor(high + 1e-9) + 1))
    if counts:
        return counts, ()
    lower, upper = max(math.floor(low), MIN_BARS), max(math.ceil(high), MIN_BARS)
    best = min((lower, upper), key=lambda n: abs(math.log(tempo_of(n, beats, duration_s) / style.tempo.default)))
    exact = tempo_of(best, beats, duration_s)
    return [best], (
        f"No whole number of bars fills {duration_s:g} s within the {style.title} tempo range "
        f"({style.tempo.min:g}-{style.tempo.max:g} BPM); the song is at {exact:.2f} BPM.",
    )


def _near_tempo(tempo: float, style: Style, duration_s: float) -> tuple[list[int], tuple[str, ...]]:
    beats = style.beats_per_bar
    ideal = _bars_at(tempo, beats, duration_s)
    reach = MAX_TEMPO_SHIFT + 1e-9
    span = range(max(math.ceil(ideal * (1 - reach)), MIN_BARS), math.floor(ideal * (1 + reach)) + 1)
    shifts = {n: abs(n / ideal - 1) for n in span if 30 <= tempo_of(n, beats, duration_s) <= 300}
    if not shifts:
        raise InvalidRequest(_no_bars(tempo, style, duration_s, ideal), param="tempo")
    least = min(shifts.values())
    # Of counts about as near, the one with the better form may be taken; never a far one for a near one.
    allowed = max(least, min(least + 0.005, TEMPO_SHIFT)) + 1e-9
    return sorted((n for n in shifts if shifts[n] <= allowed), key=lambda n: (shifts[n], n)), ()


def _no_bars(tempo: float, style: Style, duration_s: float, ideal: float) -> str:
    beats = style.beats_per_bar
    around = sorted({max(math.floor(ideal), MIN_BARS), max(math.ceil(ideal), MIN_BARS)})
    possible = [tempo_of(n, beats, duration_s) for n in around]
    tempi = " or ".join(f"{t:.2f}".rstrip("0").rstrip(".") for t in possible if 30 <= t <= 300)
    lengths = [n * beats * 60.0 / tempo for n in around]
    seconds = " or ".join(f"{s:.3f}".rstrip("0").rstrip(".") for s in lengths if 10 <= s <= 600)
    ways = [f"a tempo of {tempi} BPM"] * bool(tempi) + [f"{seconds} s"] * bool(seconds) + ["no tempo at all"]
    return (
        f"{tempo:g} BPM cannot fill {duration_s:g} s with whole bars of {style.time_signature} "
        f"(it makes {ideal:.2f} bars): ask for {', or '.join(ways)}"
    )


def tempo_note(asked: float | None, exact: float, style: Style) -> tuple[str, ...]:
    """What to say when the tempo is not the asked one, or not one of the style."""
    if asked is None:
        return ()
    notes = []
    if abs(exact / asked - 1) > 1e-6:
        notes.append(f"The tempo is {exact:.7g} BPM instead of {asked:g}, so that whole bars fill the length exactly.")
    if not style.tempo.min <= asked <= style.tempo.max:
        notes.append(
            f"{asked:g} BPM is outside what {style.title} usually has ({style.tempo.min:g}-{style.tempo.max:g})."
        )
    return tuple(notes)


# ── choosing ────────────────────────────────────────────────────────────────────────────────────


def solve_form(
    style: Style, duration_s: float, wanted: float, rng: random.Random, *, asked: float | None = None
) -> Form:
    """The best form for a style and a length.

    `wanted` is the tempo preferred within the style's range, `asked` the one the user insists on.
    The result's bars at its tempo last `duration_s` exactly. Raises InvalidRequest (see `bar_counts`).
    """
    counts, notes = bar_counts(style, duration_s, asked)
    target = asked or wanted
    spread = max(style.tempo.max - style.tempo.min, 0.05 * target)
    best: tuple[float, str, int, _Filling, _Template] | None = None
    club = _is_club(style)
    for template in _suiting(duration_s):
        taste = _JITTER * rng.random() + _window_cost(template, duration_s) + (0.0 if template.club == club else 0.35)
        if template.club and not club:
            continue
        ways = _fillings(template)
        for bars in counts:
            tempo = tempo_of(bars, style.beats_per_bar, duration_s)
            base = taste + 1.6 * abs(tempo - target) / spread
            for filling in ways.get(bars, ()):
                cost = base + filling.cost(duration_s / bars)
                if best is None or (cost, template.id, bars, filling.bars) < (*best[:3], best[3].bars):
                    best = (cost, template.id, bars, filling, template)
    if best is None:  # hardly ever: an asked tempo whose one bar count no template reaches
        return _plain(counts[0], style, duration_s, notes)
    _, name, bars, chosen, template = best
    lengths = dict(chosen.bars)
    sections = tuple(FormSection(role, lengths[role]) for role in template.roles)
    return Form(name, sections, tempo_of(bars, style.beats_per_bar, duration_s), notes)


def _suiting(duration_s: float) -> Iterator[_Template]:
    for template in _templates():
        low, high = template.seconds
        mean_s = duration_s / len(template.roles)
        if low - 1e-9 <= duration_s <= high + 1e-9 and (len(template.roles) < 12 or 9 <= mean_s <= 34):
            yield template


def _window_cost(template: _Template, duration_s: float) -> float:
    """0 in the middle of a form's window, 0.4 at its edges (in octaves, as lengths are felt)."""
    low, high = (math.log(x) for x in template.seconds)
    return 0.4 * abs(2 * (math.log(duration_s) - low) / (high - low) - 1) ** 3


def _is_club(style: Style) -> bool:
    names = {n.casefold() for n in (style.id, *style.aliases, *style.keywords)}
    return style.risers and any(word in names for word in _table().club_words)


def _plain(bars: int, style: Style, duration_s: float, notes: tuple[str, ...]) -> Form:
    """A hook of any number of bars and its ending."""
    sections = (FormSection("chorus", bars - 1), FormSection("outro", 1))
    return Form("plain", sections, tempo_of(bars, style.beats_per_bar, duration_s), notes)


# ── energy ──────────────────────────────────────────────────────────────────────────────────────


_KINDS: dict[SectionRole, SectionKind] = {
    "intro": "intro", "verse": "verse", "pre-chorus": "pre-chorus", "chorus": "chorus", "bridge": "bridge",
    "instrumental": "instrumental", "solo": "instrumental", "break": "bridge", "build": "pre-chorus",
    "drop": "chorus", "outro": "outro",
}  # fmt: skip


def kind_of(role: SectionRole) -> SectionKind:
    """The kind of section a style describes that a role is played like."""
    return _KINDS[role]


def energies(roles: list[SectionRole], style: Style) -> list[float]:
    """An energy 0-1 a section: the style's own levels, rising with each return, the last chorus highest."""
    base = _table().energy
    out: list[float] = []
    for i, role in enumerate(roles):
        kind = kind_of(role)
        level = base[role]
        if kind in style.energy:  # moved by as much as the style moves its kind
            level = style.energy[kind] + (base[role] - base[kind])
        out.append(level + 0.04 * min(roles[:i].count(role), 3))
    verse = max((e for e, r in zip(out, roles, strict=True) if r == "verse"), default=0.0)
    out = [max(e, verse + 0.12) if r in ("chorus", "drop") else e for e, r in zip(out, roles, strict=True)]
    last = max((i for i, r in enumerate(roles) if r in ("chorus", "drop")), default=None)
    if last is not None:
        out[last] = max(*out, out[last]) + 0.04
    peak = max(out)
    if peak > 1.0:  # keep the order where the top is reached
        out = [e if e < 0.5 else 0.5 + (e - 0.5) * 0.5 / (peak - 0.5) for e in out]
    if roles[-1] == "outro":
        out[-1] = min(out[-1], min((e for e in out[:-1]), default=1.0) + 0.05)
    return [round(min(max(e, 0.05), 1.0), 3) for e in out]
