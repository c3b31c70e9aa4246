"""The drums: grooves by level, fills at the seams, crashes on entries, held breath before a lift."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from tonewheel.composer.grid import STEPS_PER_QUARTER, fit_bar
from tonewheel.composer.layers import Layering
from tonewheel.composer.players import Player
from tonewheel.composer.rows import choose_variants, in_second_half
from tonewheel.composer.score import Note
from tonewheel.composer.sections import Form, Passage
from tonewheel.seeds import stream
from tonewheel.styles.instruments import DRUM_VOICES
from tonewheel.styles.schema import Drums, Groove, Level

_LOW = ("kick",)
_BACKBEAT = ("snare", "clap", "rim", "brush", "snap")
_LENGTH = {"open": 0.4, "crash": 3.0, "ride": 0.8, "bell": 0.8, "reverse": 2.0, "impact": 4.0, "triangle": 0.8}
_SHORT = 0.2  # quarters; a drum decays by itself, the length is for MIDI editors
_VELOCITY_STEP = 13.5  # digits 1-9 as velocities 14-122


@dataclass(slots=True)
class _Bar:
    """One bar of drums: voice -> digits, `.` = nothing."""

    rows: dict[str, list[str]] = field(default_factory=dict)

    def clear(self, start: int, stop: int, voices: tuple[str, ...] = ()) -> None:
        for voice, row in self.rows.items():
            if not voices or voice in voices:
                row[start:stop] = "." * (stop - start)

    def lay(self, groove: Groove, start: int, stop: int, fitted: dict[str, str]) -> None:
        """Replace steps `start` to `stop` by those of `groove`."""
        self.clear(start, stop)
        for voice in groove:
            row = self.rows.setdefault(voice, ["."] * len(fitted[voice]))
            row[start:stop] = fitted[voice][start:stop]


def drum_notes(player: Player, form: Form, layering: Layering) -> list[Note]:
    """The notes of the drum kit on the swung grid, without micro-timing."""
    layer = player.layer
    assert isinstance(layer, Drums)
    notes: list[Note] = []
    for passage in form.passages:
        rng = stream(form.seed, "drums", passage.index)
        for i in range(passage.bars):
            if layering.plays(player.id, passage.bar + i):
                level = layering.levels[player.id][passage.bar + i]
                bar = _bar(layer, level or "low", form, (passage, i), rng)
                notes += _strike(bar, form, layering, passage, i)
    notes += _crashes(layer, player, form, layering)
    return sorted(notes)


def _bar(layer: Drums, level: Level, form: Form, place: tuple[Passage, int], rng: random.Random) -> _Bar:
    """Bar `i` of a passage (`place`): groove, fill and small changes."""
    passage, i = place
    grooves = layer.levels[level]
    first, second = choose_variants(form, passage, "drums", len(grooves))
    groove = grooves[second if in_second_half(passage, i) else first]
    steps = form.grid.steps
    bar = _Bar()
    bar.lay(groove, 0, steps, _fitted(groove, form, i))
    if passage.wishes.half_time:
        _halve(bar, steps)
    start = _fill_start(form, passage, i, rng)
    if start is not None:
        fill = rng.choice(layer.fills)
        bar.lay(fill, start, steps, _fitted(fill, form, 0))
    elif len(grooves) == 1 and i % 4 == 3:
        _pick_up(bar, steps)
    return bar


def _fitted(groove: Groove, form: Form, bar: int) -> dict[str, str]:
    return {v: fit_bar(row, form.pattern_steps, bar, form.grid.upper, form.grid.lower) for v, row in groove.items()}


def _fill_start(form: Form, passage: Passage, i: int, rng: random.Random) -> int | None:
    """The step at which a fill begins in bar `i`, None for no fill. The seam to the next section gets a
    whole or half bar, every fourth bar of a lively section sometimes its last beat."""
    steps = form.grid.steps
    draw = rng.random()
    if i == passage.bars - 1:
        if passage.index == len(form.passages) - 1 or draw > 0.45 + passage.energy:
            return None
        whole = passage.level == "high" or (passage.lift and passage.energy > 0.3)
        return 0 if whole and draw < 0.4 else steps // 2
    last_before_ring = form.ring_bar is not None and passage.bar + i == form.ring_bar - 1
    if last_before_ring:
        return steps // 2 if draw < passage.energy else None
    if i % 4 == 3 and passage.bars > 4 and passage.energy > 0.45 and draw < 0.45:
        return steps - STEPS_PER_QUARTER if i % 8 != 7 else steps // 2
    return None


def _halve(bar: _Bar, steps: int) -> None:
    """Half time: the backbeat falls once a bar, on its middle; the kick only on the one and where it was late."""
    half = steps // 2
    for voice in _BACKBEAT:
        row = bar.rows.get(voice)
        if row:
            loudest = max((c for c in row if c != "."), default=".")
            row[:] = "." * steps
            row[half] = loudest
    kick = bar.rows.get("kick")
    if kick:
        kick[half : half + 1] = "."
        for s in range(2, half):
            kick[s] = "."


def _pick_up(bar: _Bar, steps: int) -> None:
    """A small change for a groove without variants: an open hat or a kick on the last eighth of the phrase."""
    if "hat" in bar.rows:
        bar.rows["hat"][steps - 2 :] = ".."
        bar.rows.setdefault("open", ["."] * steps)[steps - 2] = "5"
    elif "kick" in bar.rows:
        bar.rows["kick"][steps - 2] = "6"


def _strike(bar: _Bar, form: Form, layering: Layering, passage: Passage, i: int) -> list[Note]:
    grid = form.grid
    start = (passage.bar + i) * grid.bar
    weight = 0.84 + 0.2 * passage.energy
    out = []
    for voice, row in bar.rows.items():
        key = DRUM_VOICES[voice]
        length = _LENGTH.get(voice, _SHORT)
        for step, digit in enumerate(row):
            if digit == ".":
                continue
            at = start + step / STEPS_PER_QUARTER
            if layering.stopped("drums", at) or (voice in _LOW and layering.stopped("kick", at)):
                continue
            velocity = max(1, min(127, round(int(digit) * _VELOCITY_STEP * weight)))
            out.append(Note(grid.at(at), length, key, velocity))
    return out


def _crashes(layer: Drums, player: Player, form: Form, layering: Layering) -> list[Note]:
    """A crash and a kick on the first beat of sections that arrive, and in the middle of long loud ones."""
    if not layer.crash:
        return []
    out = []
    for before, passage in zip((None, *form.passages), form.passages, strict=False):
        if passage.energy < 0.5 or not layering.plays(player.id, passage.bar):
            continue
        arrives = before is None or before.lift or passage.peak or passage.energy - before.energy > 0.05
        if arrives:
            start = form.start(passage)
            out.append(Note(start, _LENGTH["crash"], DRUM_VOICES["crash"], round(70 + 45 * passage.energy)))
        if passage.bars >= 16 and passage.energy >= 0.7:
            middle = (passage.bar + passage.bars // 2) * form.grid.bar
            out.append(Note(middle, _LENGTH["crash"], DRUM_VOICES["crash"], round(60 + 35 * passage.energy)))
    return out


def ring_hits(player: Player, form: Form, layering: Layering) -> list[Note]:
    """Kick and crash under the last chord, where the drums played into it."""
    layer = player.layer
    if form.ring_bar is None or not isinstance(layer, Drums) or not layering.plays(player.id, form.ring_bar - 1):
        return []
    start = form.ring_bar * form.grid.bar
    energy = form.passages[-1].energy
    hits = [Note(start, _SHORT, DRUM_VOICES["kick"], round(75 + 35 * energy))]
    if layer.crash:
        hits.append(Note(start, form.end - start, DRUM_VOICES["crash"], round(55 + 45 * energy)))
    return hits
