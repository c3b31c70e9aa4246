"""Into the lifts: risers, the reversed cymbal and the impact, and the curves of brightness and level."""

from __future__ import annotations

from tonewheel.composer.layers import Layering
from tonewheel.composer.players import Band, Player
from tonewheel.composer.score import Note, Part
from tonewheel.composer.sections import Form, Passage
from tonewheel.styles.instruments import DRUM_VOICES
from tonewheel.styles.schema import PartMix

_RISER_MIX = PartMix(loudness=-13, width=1.5, reverb=0.35, highpass=250)
_MOST_DB = 3.0  # swells stay within this, the lift is in register and density
_SOON = 0.02  # quarters over which a breakpoint steps


def risers(form: Form, band: Band) -> Part | None:
    """The riser part: each note ends on the downbeat of a lift; its pitch is where it arrives."""
    if not band.effects:
        return None
    notes = []
    for passage, following in _lifts(form):
        if not passage.wishes.allows("effects", "riser") or following.energy < 0.5:
            continue
        bars = 2 if passage.bars >= 4 and following.peak else 1
        length = min(bars, passage.bars) * form.grid.bar
        end = form.stop(passage)
        notes.append(Note(end - length, length, 60 + form.key.tonic, round(60 + 50 * following.energy)))
    if not notes:
        return None
    return Part("riser", "effects", "riser", tuple(notes), _RISER_MIX, ((0.0, 0.6),), ((0.0, 0.0),))


def impacts(form: Form, band: Band, layering: Layering) -> list[Note]:
    """Drum-kit notes of the lifts: a reversed cymbal up to the downbeat, an impact on it."""
    if not band.effects or band.drums is None:
        return []
    out = []
    for passage, following in _lifts(form):
        if not following.peak or following.energy < 0.6 or not layering.plays(band.drums.id, following.bar):
            continue
        start = form.start(following)
        swell = min(2.0, form.grid.bar)
        if passage.wishes.allows("drums", band.drums.instrument):
            out.append(Note(start - swell, swell, DRUM_VOICES["reverse"], round(50 + 40 * following.energy)))
        if passage.energy < following.energy:
            out.append(Note(start, 4.0, DRUM_VOICES["impact"], round(60 + 50 * following.energy)))
    return out


def _lifts(form: Form) -> list[tuple[Passage, Passage]]:
    return [(a, b) for a, b in zip(form.passages, form.passages[1:], strict=False) if a.lift]


def brightness(form: Form) -> tuple[tuple[float, float], ...]:
    """Breakpoints (quarter, 0-1): each section's brightness follows its energy; into a lift it opens over
    the last bars, elsewhere it steps on the bar line."""
    points: list[tuple[float, float]] = []
    for passage, following in zip(form.passages, (*form.passages[1:], None), strict=True):
        here = _bright(passage)
        start, stop = form.start(passage), form.stop(passage)
        points.append((start + (_SOON if points else 0.0), here))
        if following is not None and passage.lift:
            ramp = min(2, passage.bars) * form.grid.bar
            points.append((max(stop - ramp, start + _SOON * 2), here))
            points.append((stop, here + 0.8 * (_bright(following) - here)))
        else:
            points.append((stop, here))
    return _rising_times(points, form.end)


def _bright(passage: Passage) -> float:
    return round(0.22 + 0.66 * passage.energy, 4)


def swells(form: Form, layering: Layering, player: Player) -> tuple[tuple[float, float], ...]:
    """Breakpoints (quarter, dB within ±3): thin sections are not left behind in level, held sounds swell
    into lifts, the ending of a held sound fades a little."""
    held = player.role in ("pad", "counter")
    most = max((layering.count(p.bar + p.bars // 2) for p in form.passages), default=1)
    points: list[tuple[float, float]] = []
    for passage in form.passages:
        missing = most - layering.count(min(passage.bar + passage.bars // 2, form.bars - 1))
        here = 2.2 * (passage.energy - 0.5) + min(1.8, 0.4 * missing)
        start, stop = form.start(passage), form.stop(passage)
        points.append((start + (_SOON if points else 0.0), _limited(here - (0.8 if held else 0.0))))
        if passage.lift:
            ramp = min(2, passage.bars) * form.grid.bar
            points.append((max(stop - ramp, start + _SOON * 2), _limited(here)))
            points.append((stop, _limited(here + (1.6 if held else 0.6))))
        else:
            points.append((stop, _limited(here)))
    return _rising_times(points, form.end)


def _limited(db: float) -> float:
    return round(max(-_MOST_DB, min(_MOST_DB, db)), 3)


def _rising_times(points: list[tuple[float, float]], end: float) -> tuple[tuple[float, float], ...]:
    """Strictly rising in time and within the song."""
    out: list[tuple[float, float]] = []
    for time, value in points:
        at = round(min(time, end), 6)
        if not out or at > out[-1][0] + 1e-6:
            out.append((at, round(value, 4)))
    return tuple(out)
