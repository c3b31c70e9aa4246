"""The human part: pushes and pulls, small errors of time and strength, and no note over another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tonewheel.composer.score import Note
from tonewheel.composer.sections import Form
from tonewheel.seeds import stream

_JITTER_MS = 9.0  # standard deviation of a loose player (humanize 1), drummers measure 5-15 ms
_VELOCITY_SHARE = 0.06
_SHORTEST = 0.03  # quarters


def humanised(
    notes: Iterable[Note], form: Form, part: str, *, humanize: float, offset_ms: float = 0.0,
    by_pitch_ms: Mapping[int, float] | None = None, tight: frozenset[int] | bool = False, one_voice: bool = False,
) -> tuple[Note, ...]:  # fmt: skip
    """Notes moved off the grid, inside the song, sorted.

    `offset_ms` shifts the part, `by_pitch_ms` single drum voices; jitter grows with `humanize` and is halved
    for `tight` pitches (all, when True). Notes of a chord move together. With `one_voice` a note ends where
    the next begins; otherwise only where the same pitch is struck again.
    """
    rng = stream(form.seed, "groove", part)
    sigma = form.grid.quarters(_JITTER_MS * humanize)
    by_pitch = by_pitch_ms or {}
    moved: list[Note] = []
    at, error = -1.0, 0.0
    for note in sorted(notes):
        if note.start > at + 1e-6:
            at = note.start
            error = max(-2.5, min(2.5, rng.gauss(0, 1)))
        own = error + 0.25 * rng.gauss(0, 1)
        is_tight = tight if isinstance(tight, bool) else note.pitch in tight
        shift = own * sigma * (0.5 if is_tight else 1.0)
        shift += form.grid.quarters(offset_ms + by_pitch.get(note.pitch, 0.0))
        strength = 1 + _VELOCITY_SHARE * (0.3 + 0.7 * humanize) * rng.uniform(-1, 1)
        velocity = max(1, min(127, round(note.velocity * strength)))
        start = max(0.0, note.start + shift)
        moved.append(Note(round(start, 6), note.duration, note.pitch, velocity))
    return _clean(moved, form.end, one_voice)


def _clean(notes: list[Note], end: float, one_voice: bool) -> tuple[Note, ...]:
    """Inside the song, no pitch over itself, with `one_voice` no note over another."""
    notes.sort()
    ends: dict[int, int] = {}
    out: list[Note | None] = []
    for note in notes:
        if note.start > end - _SHORTEST:
            continue
        voice = 0 if one_voice else note.pitch
        last = ends.get(voice)
        before = out[last] if last is not None else None
        if before is not None and last is not None and before.end > note.start:
            room = note.start - before.start
            out[last] = _lasting(before, room) if room > _SHORTEST else None
        ends[voice] = len(out)
        out.append(_lasting(note, min(note.duration, end - note.start)))
    return tuple(sorted(n for n in out if n is not None))


def _lasting(note: Note, duration: float) -> Note:
    # Rounded down, so that an end never passes the start that limits it.
    return Note(note.start, max(int(duration * 1e6) / 1e6, 1e-3), note.pitch, note.velocity)
