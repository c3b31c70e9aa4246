"""The form: the plan's sections as whole bars, with a chord under every step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from tonewheel.composer.grid import STEPS_PER_QUARTER, Grid
from tonewheel.composer.harmony import Span, choose_progression, lay_bar, tonic_chord
from tonewheel.composer.wishes import Wishes, read_wishes
from tonewheel.errors import InvalidPlan
from tonewheel.seeds import derive, stream
from tonewheel.songs.plan import Section, SectionRole, SongPlan
from tonewheel.styles.schema import LEVELS, Level, SectionKind, Style
from tonewheel.theory import Key

_KINDS: dict[SectionRole, SectionKind] = {
    "intro": "intro", "verse": "verse", "pre-chorus": "pre-chorus", "chorus": "chorus", "bridge": "bridge",
    "instrumental": "instrumental", "solo": "instrumental", "break": "bridge", "build": "pre-chorus",
    "drop": "chorus", "outro": "outro",
}  # fmt: skip
_MID_ENERGY = 0.38
_HIGH_ENERGY = 0.7
_LIFT = 0.12  # more energy than this into the next section is a lift


@dataclass(frozen=True, slots=True)
class Passage:
    """A section of the plan on the bar grid. `level` chooses its patterns, `occurrence` counts sections of
    its kind, `lift` says that the section after it is a step up."""

    index: int
    section: Section
    kind: SectionKind
    occurrence: int
    bar: int
    bars: int
    level: Level
    wishes: Wishes
    lift: bool

    @property
    def role(self) -> SectionRole:
        return self.section.role

    @property
    def energy(self) -> float:
        return self.section.energy

    @property
    def peak(self) -> bool:
        """Whether this is where the song opens up: a chorus or a drop."""
        return self.kind == "chorus"


@dataclass(frozen=True, slots=True)
class Form:
    """The whole song on the grid. `ring_bar` is the last bar, where the last chord rings out (None in a
    song of one bar); `end` is the end of the audio in quarters; `under` names the span of each step."""

    grid: Grid
    pattern_steps: int  # steps in a bar of the style's own patterns
    key: Key
    seed: int
    tale: int  # seed of what must differ between two narratives of one seed
    bars: int
    end: float
    ring_bar: int | None
    passages: tuple[Passage, ...]
    spans: tuple[Span, ...]
    under: tuple[int, ...]

    @property
    def played_bars(self) -> int:
        """Bars with patterns in them."""
        return self.bars if self.ring_bar is None else self.ring_bar

    def span_at(self, quarter: float) -> Span:
        """The chord under a grid time."""
        step = math.floor(quarter * STEPS_PER_QUARTER + 1e-6)
        return self.spans[self.under[max(0, min(step, len(self.under) - 1))]]

    def energy_at(self, quarter: float) -> float:
        """The energy of the section that a grid time lies in."""
        bar = quarter / self.grid.bar + 1e-6
        return next((p.energy for p in reversed(self.passages) if p.bar <= bar), self.passages[0].energy)

    def start(self, passage: Passage) -> float:
        return passage.bar * self.grid.bar

    def stop(self, passage: Passage) -> float:
        return (passage.bar + passage.bars) * self.grid.bar


def lay_out(plan: SongPlan, style: Style) -> Form:
    """The form of a plan. Raises InvalidPlan when there are more sections than bars."""
    upper, lower = plan.meter
    grid = Grid(upper, lower, plan.bar_s / float(plan.quarters_per_bar), style.swing, 8 / style.swing_steps)
    end = plan.duration_s / grid.quarter_s
    edges = _edges(plan)
    bars = edges[-1]
    passages = _passages(plan, edges)
    ring_bar = bars - 1 if bars > 1 else None
    spans = _spans(plan, style, passages, grid, ring_bar)
    tale = derive(plan.seed, "tale", plan.narrative or plan.title)
    under = _under(spans, bars, grid)
    return Form(
        grid, style.steps_per_bar, plan.parsed_key, plan.seed, tale, bars, end, ring_bar, passages, spans, under
    )


def _edges(plan: SongPlan) -> list[int]:
    """Bar numbers where sections begin, and the end: rounded on the running sum, so that errors do not add up."""
    total = max(1, math.floor(plan.duration_s / plan.bar_s + 0.5))
    count = len(plan.sections)
    if count > total:
        raise InvalidPlan(
            f"{count} sections do not fit into {total} bars of {plan.bar_s:.2f} s: "
            "use fewer sections, a faster tempo or a longer song",
            param="sections",
        )
    edges, passed = [0], 0.0
    for i, section in enumerate(plan.sections, 1):
        passed += section.duration_s
        wanted = math.floor(passed / plan.bar_s + 0.5)
        edges.append(min(max(wanted, edges[-1] + 1), total - (count - i)))
    edges[-1] = total
    return edges


def _passages(plan: SongPlan, edges: list[int]) -> tuple[Passage, ...]:
    seen: dict[str, int] = {}
    out = []
    for i, section in enumerate(plan.sections):
        role = section.role
        kind = _KINDS[role]
        seen[kind] = seen.get(kind, -1) + 1
        wishes = read_wishes(section.positive_styles, section.negative_styles)
        following = plan.sections[i + 1] if i + 1 < len(plan.sections) else None
        lift = following is not None and _is_lift(section, following)
        level = shifted(level_of(section.energy), wishes.shift)
        out.append(Passage(i, section, kind, seen[kind], edges[i], edges[i + 1] - edges[i], level, wishes, lift))
    return tuple(out)


def _is_lift(section: Section, following: Section) -> bool:
    opens = _KINDS[following.role] == "chorus" and _KINDS[section.role] != "chorus"
    rises = following.energy - section.energy >= _LIFT and following.energy >= 0.45
    return following.energy >= 0.35 and (opens or rises)


def level_of(energy: float) -> Level:
    """The pattern level of an energy."""
    if energy < _MID_ENERGY:
        return "low"
    return "mid" if energy < _HIGH_ENERGY else "high"


def shifted(level: Level, by: int) -> Level:
    """A level moved up or down, staying within low and high."""
    return LEVELS[max(0, min(len(LEVELS) - 1, LEVELS.index(level) + by))]


def _spans(
    plan: SongPlan, style: Style, passages: tuple[Passage, ...], grid: Grid, ring_bar: int | None
) -> tuple[Span, ...]:
    spans: list[Span] = []
    for p in passages:
        entries = p.section.chords or choose_progression(
            style, plan.parsed_key, p.kind, p.bars, stream(plan.seed, "harmony", p.kind, min(p.occurrence, 0))
        )
        for i in range(p.bars):
            entry = entries[i % len(entries)]
            last = p.bar + i == ring_bar
            if last and len(entries) < p.bars:
                entry = tonic_chord(plan.parsed_key)  # a cycle cut anywhere would leave the ending hanging
            elif last:
                entry = entry.split("|")[0]
            spans += lay_bar(entry, (p.bar + i) * grid.bar, grid)
    return tuple(_joined(spans, {p.bar * grid.bar for p in passages}))


def _joined(spans: list[Span], seams: set[float]) -> list[Span]:
    """Neighbouring spans of one chord as one, except over the seams between sections."""
    out = spans[:1]
    for before, span in pairwise(spans):
        if before.chord == span.chord and span.start not in seams:
            out[-1] = Span(out[-1].start, span.end - out[-1].start, span.chord, out[-1].symbol)
        else:
            out.append(span)
    return out


def _under(spans: tuple[Span, ...], bars: int, grid: Grid) -> tuple[int, ...]:
    under = []
    at = 0
    for step in range(bars * grid.steps):
        while at + 1 < len(spans) and spans[at].end * STEPS_PER_QUARTER <= step + 1e-6:
            at += 1
        under.append(at)
    return tuple(under)
