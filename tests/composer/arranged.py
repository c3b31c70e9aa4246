"""Plans and measures that the tests of the arranger share."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import pairwise

from tonewheel.composer.arrange import arrange
from tonewheel.composer.score import Note, Score
from tonewheel.songs.plan import Section, SongPlan
from tonewheel.styles.library import styles
from tonewheel.styles.schema import Style
from tonewheel.theory import parse_chord, parse_key

ALL_STYLES = tuple(sorted(styles()))
VERSE = (
    "I left my lantern burning on the water",
    "And every wave came home to say your name",
    "The harbour kept a candle for your daughter",
    "And nothing in the night was quite the same",
)
HOOK = "Lanterns on the water"
CHORUS = (HOOK, "Carry me home tonight", HOOK, "Burning ever bright")
# role, energy when the style has none, bars
_FORM = (
    ("intro", 0.35, 4), ("verse", 0.5, 8), ("pre-chorus", 0.62, 4), ("chorus", 0.85, 8), ("verse", 0.55, 8),
    ("chorus", 0.9, 8), ("bridge", 0.45, 4), ("chorus", 0.95, 8),
)  # fmt: skip
_SHORT = (("chorus", 0.8, 4), ("verse", 0.5, 4))


def style(name: str) -> Style:
    return styles()[name]


def plan_for(
    name: str, *, duration_s: float = 60, seed: int = 1, sung: bool = True, key: str | None = None, **changes: object
) -> SongPlan:
    """A plan like the planner's: whole bars that fill the length exactly, no chords, so that the arranger chooses."""
    of = style(name)
    bars = max(6, round(duration_s * of.tempo.default / 60 / of.beats_per_bar))
    sections = []
    for n, (role, energy, length) in enumerate(_filled(bars)):
        lines = VERSE if role == "verse" else CHORUS if role == "chorus" else ()
        sections.append(
            Section(
                id=f"s{n}", label=role.title(), duration_s=length * duration_s / bars,
                energy=of.energy.get(role, energy), lyrics=lines if sung else (),  # type: ignore[call-overload]
            )
        )  # fmt: skip
    fields: dict[str, object] = {
        "title": "Lanterns on the Water", "genre": name, "tempo": bars * of.beats_per_bar * 60 / duration_s,
        "time_signature": of.time_signature, "key": key or f"A {next(iter(of.modes))}", "duration_s": duration_s,
        "sections": sections, "seed": seed,
    }  # fmt: skip
    return SongPlan(**(fields | changes))  # type: ignore[arg-type]


def score_for(name: str, *, duration_s: float = 60, seed: int = 1) -> Score:
    """The score of that plan: a pure function of it, so it is made once for all who look at it."""
    return _score(name, duration_s, seed)


@cache
def _score(name: str, duration_s: float, seed: int) -> Score:
    return arrange(plan_for(name, duration_s=duration_s, seed=seed))


def _filled(bars: int) -> Iterator[tuple[str, float, int]]:
    form = _FORM if bars >= 24 else _SHORT
    used = n = 0
    while bars - used > 0:
        role, energy, length = form[n % len(form)]
        if bars - used - length < 4:
            yield ("outro", 0.4, bars - used) if used else (role, energy, bars)
            return
        yield role, energy, length
        used += length
        n += 1


def notes_of(score: Score, *roles: str) -> list[Note]:
    return sorted(n for p in score.parts if p.role in roles for n in p.notes)


def pitched(score: Score) -> list[Note]:
    return sorted(n for p in score.parts if p.role not in ("drums", "effects") for n in p.notes)


def phrases(notes: Sequence[Note], rest: float = 0.2) -> list[list[Note]]:
    """Notes split where at least `rest` quarters are silent."""
    out: list[list[Note]] = []
    for n in notes:
        if not out or n.start - out[-1][-1].end > rest:
            out.append([])
        out[-1].append(n)
    return out


def leaps(notes: Sequence[Note]) -> list[int]:
    return [abs(a.pitch - b.pitch) for phrase in phrases(notes) for a, b in pairwise(phrase)]


def chord_tones(score: Score, quarter: float) -> tuple[int, ...]:
    at = bisect_right([c.start for c in score.chords], quarter)
    return parse_chord(score.chords[max(0, at - 1)].symbol).pitch_classes


def share(flags: Iterable[bool]) -> float:
    flags = list(flags)
    return sum(flags) / len(flags) if flags else 1.0


def in_key_share(score: Score, notes: Sequence[Note]) -> float:
    """Share of sounding time on notes of the planned scale."""
    scale = parse_key(score.key).scale
    total = sum(n.duration for n in notes)
    return sum(n.duration for n in notes if n.pitch % 12 in scale) / total if total else 1.0


def within(score: Score, notes: Iterable[Note], role: str) -> list[Note]:
    """Notes that start in sections of this role."""
    spans = [(s.start - 0.2, s.start + s.quarters - 0.2) for s in score.sections if s.role == role]
    return [n for n in notes if any(a <= n.start < b for a, b in spans)]
