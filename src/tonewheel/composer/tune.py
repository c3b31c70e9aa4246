"""The tune of a whole song: range, cadences and memory around the search for each line."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tonewheel.composer.lines import Line, LineMaker, family_of
from tonewheel.composer.melody import Cadence, Contour, Slot, pitch_line
from tonewheel.composer.score import Note, SungSyllable
from tonewheel.composer.sections import Form, Passage
from tonewheel.seeds import noise, stream
from tonewheel.styles.schema import Melody

MAX_RANGE = 16  # semitones; a trained voice has more, a singable tune does not
_VERSE_SPAN = 11  # of it, what verses use
_GAP = 0.04  # quarters between notes of different words


@dataclass(frozen=True, slots=True)
class Phrase:
    """A pitched line: its notes on the unswung grid, one for each place in `line.at`."""

    line: Line
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class _Memory:
    """A tune that was sung: onsets from the line's start, pitches, and the chords they were sung over."""

    onsets: tuple[float, ...]
    pitches: tuple[int, ...]


class Tune:
    """Composes phrases from left to right and remembers them."""

    def __init__(self, form: Form, layer: Melody, lyric_bars: int | None) -> None:
        self.form, self.layer = form, layer
        self.maker = LineMaker(form, layer, lyric_bars)
        self.low, self.high = _window(form, layer)
        self.lift = max(0, min(layer.chorus_lift, MAX_RANGE - 9))
        self.memory: dict[tuple[str, int], _Memory] = {}
        self.by_words: dict[tuple[str, str], _Memory] = {}
        self.last: int | None = None

    def phrases(self, heard: frozenset[int]) -> list[Phrase]:
        """All phrases of the song, in time; wordless ones only in the sections (by index) where the tune is heard."""
        lines = [
            line
            for passage in self.form.passages
            for line in self.maker.lines(passage)
            if line.sung and (not line.invented or passage.index in heard)
        ]
        ends = [*(line.at[0] for line in lines[1:]), self.form.end][: len(lines)]
        return [self._pitched(line, min(line.stop, limit)) for line, limit in zip(lines, ends, strict=True)]

    def _pitched(self, line: Line, stop: float) -> Phrase:
        family = family_of(line.passage)
        durations = _durations(line, stop, self.form)
        slots = [
            Slot(self.form.grid.strength(at), length, self._chord(at, length))
            for at, length in zip(line.at, durations, strict=True)
        ]
        onsets = tuple(round(at - line.place.start, 6) for at in line.at)
        pitches = self._known(line, family, onsets, slots)
        if pitches is None:
            pitches = self._search(line, family, onsets, slots)
            self.memory.setdefault((family, line.index % 4), _Memory(onsets, pitches))
            self.by_words.setdefault((family, line.key), _Memory(onsets, pitches))
        self.last = pitches[-1]
        notes = tuple(
            Note(at, length, pitch, self._velocity(line, i, slots[i]))
            for i, (at, length, pitch) in enumerate(zip(line.at, durations, pitches, strict=True))
        )
        return Phrase(line, notes)

    def _chord(self, at: float, length: float) -> tuple[int, ...]:
        """The chord a note is heard over: an anticipated note belongs to the chord it is held into."""
        here, soon = self.form.span_at(at), self.form.span_at(at + 0.5)
        pushed = soon is not here and length > 0.75 and self.form.grid.strength(at) < 0.5
        return (soon if pushed else here).chord.pitch_classes

    def _known(self, line: Line, family: str, onsets: tuple[float, ...], slots: list[Slot]) -> tuple[int, ...] | None:
        """The tune these words had before, when it still fits the chords: a hook is a hook because it returns."""
        found = self.by_words.get((family, line.key))
        if found is None or found.onsets != onsets:
            return None
        fits = all(not s.exposed or p % 12 in s.chord for p, s in zip(found.pitches, slots, strict=True))
        ends = self._cadence(line, slots)
        return found.pitches if fits and found.pitches[-1] % 12 not in ends.avoid else None

    def _search(self, line: Line, family: str, onsets: tuple[float, ...], slots: list[Slot]) -> tuple[int, ...]:
        low, high = self._range(line.passage)
        chords = {pc for s in slots for pc in s.chord}
        scale = set(self.form.key.scale)
        foreign = {pc for pc in chords if pc not in scale}
        pitches = [p for p in range(low, high + 1) if p % 12 in scale | foreign]
        echo = self._echo(family, line, onsets)
        rng = noise(self.form.tale, "pitch", family, line.index % 4, line.key if line.invented else "")
        weight = 1.6 if line.passage.occurrence else 1.1
        found = pitch_line(
            slots, pitches, self._contour(line, low, high), self._cadence(line, slots),
            echo=echo, echo_weight=weight, before=self.last, rng=rng, home=self.form.key.scale,
        )  # fmt: skip
        return tuple(found)

    def _range(self, passage: Passage) -> tuple[int, int]:
        if passage.peak or family_of(passage) == "instrumental":
            return self.low + min(self.lift, 4), self.high
        if passage.kind in ("pre-chorus", "bridge"):
            return self.low + self.lift // 2, self.high - 1
        return self.low, min(self.high, self.low + _VERSE_SPAN)

    def _contour(self, line: Line, low: int, high: int) -> Contour:
        rng = stream(self.form.tale, "contour", family_of(line.passage), line.index % 4)
        middle = self.low + _VERSE_SPAN / 2 - 0.5
        lift = self.lift if line.passage.peak else self.lift * 0.6 if line.passage.kind != "verse" else 0.0
        centre = min(high - 3.0, middle + lift + 1.2 * (line.passage.energy - 0.5))
        rise = rng.uniform(3.0, 5.5) * (1 if rng.random() < 0.8 else -0.6)
        slope = (rng.uniform(0, 3), rng.uniform(-3, 1), rng.uniform(-1, 4), rng.uniform(-5, -1))[line.index % 4]
        return Contour(max(centre, low + 2.0), rise, rng.uniform(0.3, 0.75), slope)

    def _cadence(self, line: Line, slots: list[Slot]) -> Cadence:
        """Line 2 ends open on the fifth or second, the last line at home; what comes between stays in the air."""
        scale = self.form.key.scale
        tonic, second, third, fifth = scale[0], scale[1], scale[2], scale[4]
        last = line.index == line.place.count - 1
        if last and line.passage.kind not in ("pre-chorus", "intro"):
            return Cadence((tonic, third) if tonic in slots[-1].chord else (third, fifth), weight=3.0)
        if last or line.index % 2 == 1:
            return Cadence((fifth, second), avoid=(tonic,))
        return Cadence((third, fifth), avoid=(tonic,), weight=1.2)

    def _echo(self, family: str, line: Line, onsets: tuple[float, ...]) -> list[int | None]:
        """For each note, the pitch at the same moment of the line it answers; nothing for the ending, which
        has its own duty."""
        index = line.index % 4
        keys = [(family, index)]
        if index >= 2:
            keys.append((family, index - 2))
        if family in ("instrumental", "intro", "outro"):
            keys.append(("chorus", index))
            keys.append(("verse", index))
        found = next((self.memory[k] for k in keys if k in self.memory), None)
        if found is None:
            return []
        by_time = dict(zip(found.onsets, found.pitches, strict=True))
        echo: list[int | None] = [by_time.get(q) for q in onsets]
        if keys[0] not in self.memory:
            echo[-2:] = [None] * len(echo[-2:])
        return echo

    def _velocity(self, line: Line, i: int, slot: Slot) -> int:
        energy = line.passage.energy
        t = i / max(len(line.sung) - 1, 1)
        arc = 5 * float(np.sin(np.pi * t))
        return round(76 + 16 * energy + arc + 6 * slot.strength + (3 if line.sung[i].stressed else -3))

    def ending(self, phrases: list[Phrase]) -> Note | None:
        """A last long tonic over the ring-out, when the tune was played up to it."""
        if self.form.ring_bar is None or not phrases:
            return None
        start = self.form.ring_bar * self.form.grid.bar
        last = phrases[-1]
        if last.notes[-1].end < start - self.form.grid.bar or not last.line.invented:
            return None
        tones = self.form.span_at(start).chord.pitch_classes
        near = last.notes[-1].pitch
        goal = self.form.key.tonic if self.form.key.tonic in tones else tones[0]
        pitch = min((p for p in range(self.low, self.high + 1) if p % 12 == goal), key=lambda p: (abs(p - near), p))
        return Note(start, max(0.5, (self.form.end - start) * 0.7), pitch, 84)


def _window(form: Form, layer: Melody) -> tuple[int, int]:
    """Lowest and highest note of the tune: at most `MAX_RANGE` semitones within the style's range, placed so
    that the tonic lies in the lower half of what verses use."""
    low, high = layer.low, max(layer.high, layer.low + 12)
    width = min(MAX_RANGE, high - low)
    options = range(low, high - width + 1)
    best = min(options, key=lambda at: (abs((form.key.tonic - at) % 12 - 4), at))
    return best, best + width


def _durations(line: Line, stop: float, form: Form) -> list[float]:
    """Each syllable lasts to the next, with a breath of air between words; the last one to a natural length."""
    longest = 2.0 if form.grid.quarter_s > 0.45 else 3.0
    if line.passage.peak:
        longest *= 1.5
    out = []
    for i, (here, after) in enumerate(pairwise((*line.at, stop))):
        last = i == len(line.at) - 1
        room = after - here
        if last:
            out.append(max(min(room - 0.25, longest), min(room, 0.2)))
        else:
            gap = _GAP if line.sung[i + 1].word_start else 0.0
            out.append(max(min(room - gap, longest), min(room, 0.1)))
    return out


def second_voice(note: Note, form: Form) -> int:
    """The pitch under a note of the tune, on the unswung grid: a third where that is in the chord, else the next
    chord tone down."""
    tones = form.span_at(note.start).chord.pitch_classes
    return next((note.pitch - i for i in (3, 4, 5, 8, 9) if (note.pitch - i) % 12 in tones), note.pitch - 12)


def sung_syllables(phrases: list[Phrase], form: Form) -> tuple[SungSyllable, ...]:
    """The syllables of sung lines with the times of their notes; several share a note where the line is crowded."""
    out = []
    for phrase in phrases:
        for sung, note in zip(phrase.line.sung, phrase.notes, strict=True):
            start, end = form.grid.at(note.start), min(form.grid.at(note.end), form.end)
            share = (end - start) / max(len(sung.texts), 1)
            for k, (text, word_start, line_start, number) in enumerate(sung.texts):
                at = round(start + k * share, 6)
                out.append(SungSyllable(at, round(share, 6), text, word_start, line_start, number))
    return tuple(out)
