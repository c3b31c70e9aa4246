"""The user's own lyrics: read into sections word for word, and a form built around them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import get_args

from tonewheel.errors import InvalidRequest, nearest
from tonewheel.songs.forms import Form, FormSection, bar_counts, tempo_of
from tonewheel.songs.plan import SectionRole, role_of_label
from tonewheel.songs.syllables import count_syllables
from tonewheel.styles.schema import Style

MAX_LINE = 300  # characters; what a plan allows
_MAX_SECTIONS = 60
_LABEL = re.compile(r"^\[([^\[\]]{1,120})\]$")
_ROLES: tuple[str, ...] = get_args(SectionRole)
_SUNG_ROLES = frozenset({"verse", "pre-chorus", "chorus", "bridge", "drop", "outro"})

# Seconds for one line of ordinary length (about eight syllables): the least that can be sung, and the best.
MIN_LINE_S = 1.5
_IDEAL_LINE_S = 3.3


@dataclass(frozen=True, slots=True)
class LyricSection:
    """A labelled part of the user's lyrics; no lines = instrumental."""

    label: str
    role: SectionRole
    lines: tuple[str, ...]


def parse_lyrics(text: str) -> tuple[LyricSection, ...]:
    """Cleaned lyrics as sections. `[Verse 1]` lines are labels; without any, stanzas become verses and choruses.

    A label that stands alone repeats the lines sung under it before (`[Chorus]`). Raises InvalidRequest
    naming the label and its line.
    """
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_LINE:
            raise InvalidRequest(
                f"lyrics: line {number} has {len(line)} characters, at most {MAX_LINE}: break it into shorter lines",
                param="lyrics",
            )
    sections = _labelled(lines) if any(_LABEL.match(line) for line in lines) else _stanzas(lines)
    if not any(s.lines for s in sections):
        raise InvalidRequest(
            "lyrics: there are labels but no lines to sing: write lines, or ask for an instrumental", param="lyrics"
        )
    if len(sections) > _MAX_SECTIONS:
        raise InvalidRequest(
            f"lyrics: {len(sections)} sections, at most {_MAX_SECTIONS}: join some of them", param="lyrics"
        )
    return sections


def _labelled(lines: Sequence[str]) -> tuple[LyricSection, ...]:
    found: list[tuple[str, SectionRole, list[str]]] = []
    for number, line in enumerate(lines, 1):
        m = _LABEL.match(line)
        if m:
            label = m[1].strip()
            found.append((label[:80], _role(label, number), []))
        elif line:
            if not found:
                found.append(("Verse", "verse", []))
            found[-1][2].append(line)
    sung: dict[str, tuple[str, ...]] = {}
    out = []
    for label, role, own in found:
        words = tuple(own) or (sung.get(label.casefold(), ()) if role in _SUNG_ROLES else ())
        sung[label.casefold()] = words
        out.append(LyricSection(label, role, words))
    return tuple(out)


def _role(label: str, number: int) -> SectionRole:
    role = role_of_label(label)
    if role is None:
        near = nearest(label, _ROLES)
        hint = f"did you mean [{near[0].title()}]? " if near else ""
        allowed = ", ".join(f"[{r.title()}]" for r in _ROLES)
        raise InvalidRequest(
            f"lyrics: unknown label [{label[:40]}] on line {number}: {hint}allowed: {allowed}", param="lyrics"
        )
    return role


def _stanzas(lines: Sequence[str]) -> tuple[LyricSection, ...]:
    stanzas: list[tuple[str, ...]] = []
    current: list[str] = []
    for line in [*lines, ""]:
        if line:
            current.append(line)
        elif current:
            stanzas.append(tuple(current))
            current = []
    again = {s for s in stanzas if stanzas.count(s) > 1}
    out = []
    verses = 0
    for i, stanza in enumerate(stanzas):
        chorus = stanza in again if again else i % 2 == 1
        verses += not chorus
        role: SectionRole = "chorus" if chorus else "verse"
        out.append(LyricSection("Chorus" if chorus else f"Verse {verses}", role, stanza))
    return tuple(out)


# ── how much room lines need ────────────────────────────────────────────────────────────────────


def _units(lines: Sequence[str]) -> float:
    """Room the lines of a section ask for, in ordinary lines; as all get the same, the longest decides."""
    return len(lines) * max((max(1.0, count_syllables(line) / 11) for line in lines), default=0.0)


# Bars of a section without words, before scaling.
_UNSUNG: dict[SectionRole, int] = {"intro": 4, "outro": 4, "break": 4, "build": 4, "pre-chorus": 4}


def least_seconds(sections: Sequence[LyricSection], style: Style, asked: float | None = None) -> float:
    """The shortest song that leaves every line `MIN_LINE_S`, within the style's tempo range (or at the asked tempo)."""
    quickest, slowest = (60.0 * style.beats_per_bar / (asked or t) for t in (style.tempo.max, style.tempo.min))
    rooms = [(s, _units(s.lines)) for s in sections]
    found = []
    for per_line in _BARS_PER_LINE:
        bar_s = max(quickest, MIN_LINE_S / per_line)
        if bar_s <= slowest + 1e-9:
            found.append((sum(_bars(s, u, per_line, min(_SCALES)) for s, u in rooms) + 1) * bar_s)
    return min(found)


_BARS_PER_LINE = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
_SCALES = (1.0, 0.5, 2.0, 0.25)  # of sections without words


# ── the form ────────────────────────────────────────────────────────────────────────────────────

_EXTRA_OUTRO = (5, 4, 3, 2, 1, 9, 8, 0)
_EXTRA_INTRO = (4, 2, 8, 1, 0)


@dataclass(frozen=True, slots=True)
class LyricForm:
    """A form and, for each of its sections, the user's section it carries (None = added)."""

    form: Form
    carries: tuple[LyricSection | None, ...]


def form_for_lyrics(
    sections: Sequence[LyricSection], style: Style, duration_s: float, wanted: float, asked: float | None = None
) -> LyricForm:
    """Bars in proportion to the lines, filling the length exactly; an intro, an ending and instrumental
    parts are added where there is room. Raises InvalidRequest when the lines do not fit.
    """
    counts, notes = bar_counts(style, duration_s, asked)
    target = asked or wanted
    rooms = [(s, _units(s.lines)) for s in sections]
    best: tuple[float, int, list[tuple[LyricSection | None, FormSection]]] | None = None
    for total in sorted(counts, key=lambda n: abs(tempo_of(n, style.beats_per_bar, duration_s) - target))[:48]:
        bar_s = duration_s / total
        tempo = total / duration_s * 60.0 * style.beats_per_bar
        for per_line, scale in product(_BARS_PER_LINE, _SCALES):
            line_s = per_line * bar_s
            if line_s < MIN_LINE_S - 1e-9:
                continue
            base = [_bars(s, u, per_line, scale) for s, u in rooms]
            cost = (
                abs(math.log2(line_s / _IDEAL_LINE_S))
                + 2.0 * abs(math.log2(tempo / target))
                + 0.1 * abs(math.log2(scale))
            )
            if best is not None and cost >= best[0]:
                continue
            filled = _fill(sections, base, total)
            if filled and (best is None or cost + filled[0] < best[0]):
                best = (cost + filled[0], total, filled[1])
    if best is None:
        raise InvalidRequest(_no_room(sections, style, duration_s, asked), param="lyrics")
    _, total, placed = best
    form = Form("own-lyrics", tuple(f for _, f in placed), tempo_of(total, style.beats_per_bar, duration_s), notes)
    return LyricForm(form, tuple(own for own, _ in placed))


def _bars(section: LyricSection, units: float, per_line: float, scale: float) -> int:
    if not section.lines:
        return max(round(_UNSUNG.get(section.role, 8) * scale), 1)
    raw = units * per_line
    step = 4 if raw > 12 else 2 if raw > 2 else 1
    return max(math.ceil(raw / step - 1e-9) * step, 1)


_Placed = list[tuple[LyricSection | None, FormSection]]


def _fill(sections: Sequence[LyricSection], base: list[int], total: int) -> tuple[float, _Placed] | None:
    """The sections with what is added to reach `total` bars, and what that costs; None when it cannot be."""
    room = total - sum(base)
    if room < 0:
        return None
    outros = (0, 1, 2, 3) if sections[-1].role == "outro" else _EXTRA_OUTRO
    intros = (0,) if sections[0].role == "intro" else _EXTRA_INTRO
    best: tuple[float, int, int] | None = None
    for intro, outro in product(intros, outros):
        rest = room - intro - outro
        if rest < 0 or rest % 4:
            continue
        cost = (
            0.02 * rest + (0.3 if outro == 0 and sections[-1].role != "outro" else 0.0) + 0.05 * (intro not in (2, 4))
        )
        cost += 0.6 * max(intro / total - 0.16, 0) * 10 + 0.6 * max(outro / total - 0.2, 0) * 10
        if best is None or cost < best[0]:
            best = (cost, intro, outro)
    if best is None:
        return _stretched(sections, base, room)
    cost, intro, outro = best
    return cost, _place(sections, base, intro, outro, room - intro - outro)


def _stretched(sections: Sequence[LyricSection], base: list[int], room: int) -> tuple[float, _Placed]:
    """The few bars no ending of its own can take go to the last section, which rings longer."""
    placed: _Placed = [(s, FormSection(s.role, b)) for s, b in zip(sections, base, strict=True)]
    last, form = placed[-1]
    placed[-1] = (last, FormSection(form.role, form.bars + room))
    return 0.5 + 0.1 * room, placed


def _place(sections: Sequence[LyricSection], base: list[int], intro: int, outro: int, rest: int) -> _Placed:
    placed: _Placed = [(None, FormSection("intro", intro))] if intro else []
    gaps = _gaps(sections)
    inserts: dict[int, list[FormSection]] = {g: [] for g in gaps}
    for turn, bars in enumerate(_chunks(rest)):
        gap = gaps[turn % len(gaps)]
        roles: tuple[SectionRole, ...] = ("instrumental", "solo", "break")
        inserts[gap].append(FormSection(roles[(turn // len(gaps)) % 3], bars))
    for i, (section, bars) in enumerate(zip(sections, base, strict=True)):
        placed.append((section, FormSection(section.role, bars)))
        placed += [(None, extra) for extra in inserts.get(i, ())]
    if outro and sections[-1].role == "outro":
        own, form = placed[-1]
        placed[-1] = (own, FormSection(form.role, form.bars + outro))
    elif outro:
        placed.append((None, FormSection("outro", outro)))
    return placed


def _gaps(sections: Sequence[LyricSection]) -> list[int]:
    """Where an instrumental may follow: after choruses first, then anywhere; never at the very end if avoidable."""
    inner = list(range(len(sections) - 1))
    after_chorus = [i for i in inner if sections[i].role == "chorus"]
    return after_chorus or inner or [0]


def _chunks(bars: int) -> Iterator[int]:
    while bars > 0:
        size = 16 if bars >= 32 else 8 if bars >= 8 else 4
        yield min(size, bars)
        bars -= size


def _no_room(sections: Sequence[LyricSection], style: Style, duration_s: float, asked: float | None) -> str:
    lines = sum(len(s.lines) for s in sections)
    need = math.ceil(least_seconds(sections, style, asked))
    speed = f"at {asked:g} BPM" if asked else f"as {style.title}"
    count = f"{lines} line{'s' * (lines != 1)} in {len(sections)} section{'s' * (len(sections) != 1)}"
    told = f"the lyrics have {count} and need at least about {need} s {speed}"
    if need > 600:
        return f"{told}; a song lasts at most 600 s: leave lines out"
    if need <= duration_s:
        return f"{told}; no whole bars near {duration_s:g} s carry them: change the duration or the tempo a little"
    return f"{told}, but the song is to last {duration_s:g} s: give it {need} s or more, or leave lines out"
