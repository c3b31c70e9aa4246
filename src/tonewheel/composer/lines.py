"""Lines on the time line: which bars each line of lyrics takes, and the invented lines of wordless sections."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tonewheel.composer.rhythm import Slots, Words, invented_words, place_syllables, spoken_words
from tonewheel.composer.sections import Form, Passage
from tonewheel.seeds import noise
from tonewheel.songs.syllables import syllables
from tonewheel.styles.schema import Melody

# Sections that have a tune even without words; the rest gets fragments or nothing.
_TUNEFUL = ("verse", "pre-chorus", "chorus", "bridge", "instrumental", "solo", "drop")
_LONGEST_LINE_BARS = 4


@dataclass(frozen=True, slots=True)
class Sung:
    """A syllable of a line; `texts` is empty in invented lines, and holds several where a line has more
    syllables than the grid has steps."""

    texts: tuple[tuple[str, bool, bool, int], ...]  # text, word_start, line_start, line of the song
    stressed: bool
    word_start: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Where a phrase lies: number `index` of `count` in its section, from `start` on, at most `room` quarters."""

    passage: Passage
    index: int
    count: int
    start: float
    room: float


@dataclass(frozen=True, slots=True)
class Line:
    """A phrase: `at[i]` is where syllable i starts, on the unswung grid, `stop` where the last one ends at the
    latest. `key` names equal words."""

    place: Place
    sung: tuple[Sung, ...]
    at: tuple[float, ...]
    stop: float
    key: str

    @property
    def passage(self) -> Passage:
        return self.place.passage

    @property
    def index(self) -> int:
        return self.place.index

    @property
    def invented(self) -> bool:
        return not any(s.texts for s in self.sung)


def family_of(passage: Passage) -> str:
    """Sections that share a tune: all verses, all choruses and drops."""
    return "instrumental" if passage.role in ("solo", "instrumental") else passage.kind


class LineMaker:
    """Lays the lines of one section after the other, remembering the rhythms of each family of sections."""

    def __init__(self, form: Form, layer: Melody, lyric_bars: int | None) -> None:
        self.form = form
        self.layer = layer
        self.bars_per_line = lyric_bars or layer.bars_per_line
        self.rhythms: dict[tuple[str, int], tuple[float, ...]] = {}  # onsets from the line's start
        self.by_words: dict[tuple[str, str, int], tuple[float, ...]] = {}
        self.song_line = 0
        self.busy_until = 0.0  # end of the note before, for pickups

    def lines(self, passage: Passage) -> list[Line]:
        """The lines of a section, in order."""
        bars = passage.bars
        stop = min(self.form.stop(passage), self.form.end)
        if self._has_ring(passage) and bars > 1:
            stop = self.form.played_bars * self.form.grid.bar
        if passage.section.lyrics:
            return self._sung(passage, stop)
        if passage.role not in _TUNEFUL:
            return self._fragments(passage, stop)
        # A line of less than about four seconds is too short for a tune without words.
        per_line = self.bars_per_line if self.bars_per_line * self.form.grid.bar * self.form.grid.quarter_s > 4 else 2
        per_line = min(max(per_line, self.bars_per_line), bars)
        while math.ceil(bars / per_line) > 8 and per_line < _LONGEST_LINE_BARS:
            per_line *= 2
        count = max(1, math.ceil(bars / per_line))
        out = []
        for i in range(count):
            start = self.form.start(passage) + i * per_line * self.form.grid.bar
            room = min(per_line * self.form.grid.bar, stop - start)
            if room >= self.form.grid.bar - 1e-6 or (count == 1 and room > 1):
                out.append(self._invented(Place(passage, i, count, start, room)))
        return out

    # ── words ───────────────────────────────────────────────────────────────────────────────────

    def _sung(self, passage: Passage, stop: float) -> list[Line]:
        groups = self._grouped(passage)
        starts = self._starts(passage, len(groups))
        out: list[Line] = []
        for i, words in enumerate(groups):
            if not words or starts[i] >= stop - 1e-6:
                continue
            room = min(starts[i + 1], stop) - starts[i]
            text = " ".join(t for s in words for t, *_ in s.texts).casefold()
            out.append(self._placed(Place(passage, i, len(groups), starts[i], room), words, text))
        return out

    def _grouped(self, passage: Passage) -> list[list[Sung]]:
        """The syllables of each phrase; lines share a phrase when there are more lines than half bars."""
        bars = passage.bars - (1 if self._has_ring(passage) and passage.bars > 1 else 0)
        phrases = max(1, min(len(passage.section.lyrics), bars * 2))
        groups: list[list[Sung]] = [[] for _ in range(phrases)]
        for n, line in enumerate(passage.section.lyrics):
            group = groups[n * phrases // len(passage.section.lyrics)]
            for k, s in enumerate(syllables(line)):
                group.append(Sung(((s.text, s.word_start, k == 0, self.song_line),), s.stressed, s.word_start))
            self.song_line += 1
        return groups

    def _has_ring(self, passage: Passage) -> bool:
        return self.form.ring_bar is not None and passage.bar + passage.bars > self.form.ring_bar

    def _starts(self, passage: Passage, count: int) -> list[float]:
        """Where the lines begin, and the end of the section; on bars, or half bars when lines are many."""
        bar = self.form.grid.bar
        bars = passage.bars
        if self._has_ring(passage) and bars > 1 and (count - 1) * bars // count >= bars - 1:
            bars -= 1  # the last line would lie in the ring-out
        unit = bar if count <= bars else bar / 2
        units = round(bars * bar / unit)
        first = self.form.start(passage)
        return [first + (i * units // count) * unit for i in range(count)] + [first + bars * bar]

    def _placed(self, place: Place, words: list[Sung], key: str) -> Line:
        per = self.layer.steps_per_beat
        active = self._active(place, len(words))
        if len(words) > active * per * 0.8 and per == 2:
            per = 4  # too many syllables for eighths
        steps = max(1, int(active * per + 1e-6))
        words = _squeezed(words, steps)
        family = family_of(place.passage)
        onsets = self._sung_before(place, family, key, steps)
        if onsets is None:
            onsets = self._spoken(place, words, key, steps, per)
            self.by_words[family, key, steps] = tuple(at - place.start for at in onsets)
        stop = place.start + place.room
        self.busy_until = min(stop, onsets[-1] + 1.0)
        return Line(place, tuple(words), onsets, stop, key)

    def _sung_before(self, place: Place, family: str, key: str, steps: int) -> tuple[float, ...] | None:
        """The rhythm these words had in an earlier section, unless its pickup would run into the line before."""
        known = self.by_words.get((family, key, steps))
        if known is None or place.start + known[0] < self.busy_until - 1e-6:
            return None
        return tuple(place.start + q for q in known)

    def _spoken(self, place: Place, words: list[Sung], key: str, steps: int, per: int) -> tuple[float, ...]:
        """Onsets for sung words, with a pickup when the line opens unstressed and the line before leaves room."""
        lead = next((i for i, s in enumerate(words) if s.stressed), 0)
        free = place.start - self.busy_until if place.start >= 1 and len(words) < steps * 0.8 else 0.0
        rng = noise(self.form.tale, "speech", family_of(place.passage), key)
        spoken = spoken_words([s.stressed for s in words], [s.word_start for s in words], rng)
        return self._onsets(place, spoken, (steps, max(0, min(per, lead, int(free * per)))), per)

    def _active(self, place: Place, count: int) -> float:
        """Quarters a line really takes: its syllables at a singable pace and a breath, in half bars."""
        quarter_s = self.form.grid.quarter_s
        pace = (0.2 + 0.2 * quarter_s) * (1.2 if place.passage.peak else 1.0)  # seconds a syllable
        half = self.form.grid.bar / 2
        needed = count * pace / quarter_s + 1.0
        return max(min(half, place.room), min(place.room, math.ceil(needed / half) * half))

    def _onsets(self, place: Place, words: Words, window: tuple[int, int], per: int) -> tuple[float, ...]:
        """Onsets of the words in a window of (steps, pickup steps before them), `per` steps a quarter."""
        steps, pickup = window
        family, index = family_of(place.passage), place.index % 4
        weights = np.array([self.form.grid.strength(place.start + (k - pickup) / per) for k in range(steps + pickup)])
        places = place_syllables(
            words,
            Slots(weights, pickup, min(per, steps // 4), per),
            motif=[p + pickup for p in _on_grid(self._motif(family, index), per)],
            motif_weight=0.9 if index >= 2 else 0.5,
            syncopation=self.layer.syncopation,
            rng=noise(self.form.tale, "rhythm", family, index),
        )
        onsets = tuple((p - pickup) / per for p in places)
        self.rhythms.setdefault((family, index), onsets)
        return tuple(place.start + q for q in onsets)

    def _motif(self, family: str, index: int) -> tuple[float, ...]:
        """The rhythm that line `index` echoes: the same line of the section before, else two lines before,
        else the opening line."""
        for key in ((family, index % 4), (family, (index - 2) % 4), (family, 0)):
            if key in self.rhythms:
                return self.rhythms[key]
        return ()

    # ── no words ────────────────────────────────────────────────────────────────────────────────

    def _invented(self, place: Place) -> Line:
        passage, room = place.passage, place.room
        family = family_of(passage)
        density = self.layer.density + (0.12 if family == "instrumental" else 0.0) - (0.1 if passage.peak else 0.0)
        active = room * (0.8 if room > self.form.grid.bar else 0.9)
        # Lines 1 and 3, 2 and 4 are equally long, as rhymed verse is.
        rng = noise(self.form.tale, "feet", family, place.index % 2)
        per = self.layer.steps_per_beat
        steps = max(2, int(active * per + 1e-6))
        seconds = active * self.form.grid.quarter_s
        words = invented_words(seconds, max(2, steps * 3 // 4), max(0.0, min(1.0, density)), rng)
        onsets = self._onsets(place, words, (steps, 0), per)
        sung = tuple(Sung((), a, b) for a, b in zip(words.stresses, words.starts, strict=True))
        self.busy_until = min(place.start + room, onsets[-1] + 1.0)
        # The fourth line of every other verse ends in its own way.
        turn = passage.occurrence % 2 if place.index % 4 == 3 and not passage.peak else 0
        return Line(place, sung, onsets, place.start + room, f"{family}-{place.index % 4}-{turn}")

    def _fragments(self, passage: Passage, stop: float) -> list[Line]:
        """Intros and outros hint at the tune: its opening phrase every four bars, when there is room."""
        if passage.bars < 4 or passage.role in ("build", "break"):
            return []
        bar = self.form.grid.bar
        room = min(self.bars_per_line, 2) * bar
        out = []
        first = 2 if passage.kind == "intro" else 0
        for i, at in enumerate(range(first, passage.bars, 4)):
            start = self.form.start(passage) + at * bar
            if start + room <= stop + 1e-6:
                out.append(self._invented(Place(passage, 0, 1 if i else 2, start, room)))
        return out


def _on_grid(onsets: tuple[float, ...], per: int) -> list[int]:
    """Those onsets that lie on a grid of `per` steps a quarter, as steps."""
    return [round(q * per) for q in onsets if abs(q * per - round(q * per)) < 1e-6]


def _squeezed(words: list[Sung], steps: int) -> list[Sung]:
    """At most `steps` syllables: neighbours share a note where there are more."""
    if len(words) <= steps:
        return words
    groups: list[list[Sung]] = [[] for _ in range(steps)]
    for n, word in enumerate(words):
        groups[n * steps // len(words)].append(word)
    return [
        Sung(tuple(t for w in g for t in w.texts), any(w.stressed for w in g), g[0].word_start) for g in groups if g
    ]
