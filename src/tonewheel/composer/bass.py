"""The bass: the signs of a bass row as pitches, with roots near each other and a walk where asked."""

from __future__ import annotations

from tonewheel.composer.grid import STEPS_PER_QUARTER
from tonewheel.composer.harmony import Span
from tonewheel.composer.layers import Layering
from tonewheel.composer.players import Player, ringing
from tonewheel.composer.rows import Stroke, song_row, strokes
from tonewheel.composer.score import Note
from tonewheel.composer.sections import Form
from tonewheel.seeds import stream
from tonewheel.styles.schema import Bass
from tonewheel.theory import QUALITIES, Chord

_ONSETS = "Rr35678awx"
_VELOCITY = {"R": 100, "r": 78, "8": 92, "5": 90, "3": 86, "6": 84, "7": 84, "a": 80, "w": 88, "x": 42}


def bass_notes(player: Player, form: Form, layering: Layering) -> list[Note]:
    """The notes of the bass on the swung grid, without micro-timing; never two at once."""
    layer = player.layer
    assert isinstance(layer, Bass)
    row = song_row(form, layering, player, layer.levels, "r")
    line = [s for s in strokes(row, form, _ONSETS) if not layering.stopped("bass", s.start)]
    pitches = _Line(layer.low, max(layer.high, layer.low + 12), form).pitches(line)
    notes = []
    for stroke, pitch in zip(line, pitches, strict=True):
        start, end = form.grid.at(stroke.start), form.grid.at(stroke.start + stroke.duration)
        gate = 0.35 if stroke.sign == "x" else 1.0 if layer.glide else 0.95
        notes.append(Note(start, (end - start) * gate, pitch, _velocity(stroke, form)))
    return notes


def _velocity(stroke: Stroke, form: Form) -> int:
    accent = (0.92 + 0.1 * form.grid.strength(stroke.start)) * (0.9 + 0.18 * form.energy_at(stroke.start))
    soft = 1.0 if stroke.first else 0.85
    return round(_VELOCITY[stroke.sign] * accent * soft)


class _Line:
    """Chooses pitches from left to right; walks are planned up to the next root."""

    def __init__(self, low: int, high: int, form: Form) -> None:
        self.low, self.high, self.form = low, high, form
        self.roots = _roots(form, low, high)
        self.root = self.roots[form.spans[0].start]
        self.span: Span | None = None
        self.rng = stream(form.seed, "bass")

    def pitches(self, line: list[Stroke]) -> list[int]:
        out: list[int] = []
        i = 0
        while i < len(line):
            if line[i].sign == "w":
                run = i
                while run < len(line) and line[run].sign == "w":
                    run += 1
                out += self._walk(line, i, run, out[-1] if out else None)
                i = run
                continue
            out.append(self._pitch(line, i, out[-1] if out else None))
            i += 1
        return out

    def _pitch(self, line: list[Stroke], i: int, last: int | None) -> int:
        stroke = line[i]
        root = self._enter(stroke.span)
        chord = stroke.span.chord
        match stroke.sign:
            case "x":
                return last if last is not None else root
            case "a":
                return self._approach(line, i, root, last)
            case "8":
                return root + 12 if root + 12 <= self.high + 4 else root
            case "R" | "r":
                return root
        return self._above(root, chord, stroke.sign)

    def _enter(self, span: Span) -> int:
        self.span = span
        self.root = self.roots[span.start]
        return self.root

    def _above(self, root: int, chord: Chord, sign: str) -> int:
        intervals = {i % 12 for i in QUALITIES[chord.quality]}
        wanted = self._degree(intervals, chord, sign)
        if chord.bass != chord.root:  # over another bass note degrees still count from the chord's root
            wanted = (chord.root + wanted - root) % 12
        up = root + wanted
        return up if up <= self.high else up - 12 if up - 12 >= self.low else up

    def _degree(self, intervals: set[int], chord: Chord, sign: str) -> int:
        """Semitones of a degree above the root: the chord's own where it has it, else the key's."""
        if sign == "6":
            return 9 if 9 in intervals or (chord.root + 9) % 12 in self.form.key.scale else 8
        likely = {"3": (4, 3, 5, 2), "5": (7, 6, 8), "7": (10, 11, 9)}[sign]
        found = next((i for i in likely if i in intervals), None)
        if found is not None:
            return found
        return 7 if sign != "7" else 10 if (chord.root + 10) % 12 in self.form.key.scale else 11

    def _next_root(self, line: list[Stroke], i: int, root: int) -> int:
        """Where the line goes after stroke `i`: the root of the chord of the next stroke that is not
        an approach."""
        span = next((s.span for s in line[i + 1 :] if s.sign not in "aw"), line[i].span)
        return root if span is self.span else self.roots[span.start]

    def _approach(self, line: list[Stroke], i: int, root: int, last: int | None) -> int:
        """A scale step under or over the next root; from the side on which the line stands."""
        target = self._next_root(line, i, root)
        scale = self.form.key.scale
        below = next(p for p in range(target - 1, target - 4, -1) if p % 12 in scale or p == target - 3)
        above = next(p for p in range(target + 1, target + 4) if p % 12 in scale or p == target + 3)
        options = [p for p in (below, above) if self.low - 3 <= p <= self.high + 3] or [target]
        where = last if last is not None else root
        fresh = [p for p in options if p != where] or options
        return min(fresh, key=lambda p: (abs(p - where), p))

    def _walk(self, line: list[Stroke], start: int, stop: int, last: int | None) -> list[int]:
        """Pitches for the walking strokes `start` to `stop`, from the note before to the root after:
        steps and chord tones, no note twice, a step into the goal."""
        root = self._enter(line[start].span)
        here = last if last is not None else root
        after = line[stop] if stop < len(line) else None
        goal = self.roots[after.span.start] if after and after.sign in "Rr" else None
        scale = set(self.form.key.scale)
        paths: dict[int, tuple[float, list[int]]] = {here: (0.0, [])}
        for stroke in line[start:stop]:
            tones = set(stroke.span.chord.pitch_classes)
            strong = self.form.grid.strength(stroke.start) >= 0.7
            turned = stroke.span is not self.span
            if turned:
                self._enter(stroke.span)
            options = [p for p in range(self.low, self.high + 3) if p % 12 in scale | tones]
            if turned:
                options = [self.root]
            paths = self._extend(paths, options, tones, scale, strong)
        best = min(paths.items(), key=lambda kv: (kv[1][0] + _goal_cost(kv[0], goal), kv[0]))
        return best[1][1]

    def _extend(
        self, paths: dict[int, tuple[float, list[int]]], options: list[int], tones: set[int], scale: set[int],
        strong: bool,
    ) -> dict[int, tuple[float, list[int]]]:  # fmt: skip
        out: dict[int, tuple[float, list[int]]] = {}
        for pitch in options:
            own = 0.0 if pitch % 12 in tones else (2.0 if strong else 0.5)
            own += 0.0 if pitch % 12 in scale else 1.5
            own += self.rng.random() * 0.6
            ways = [
                (cost + _step_cost(pitch - at) + (1.0 if len(notes) > 1 and notes[-2] == pitch else 0.0), at)
                for at, (cost, notes) in paths.items()
            ]
            cost, at = min(ways)
            out[pitch] = (cost + own, [*paths[at][1], pitch])
        return out


def _roots(form: Form, low: int, high: int) -> dict[float, int]:
    """The octave of every root, by the start of its span: near the root before (no jumps of a seventh), low, with
    room above for a fifth. A section may begin anew."""
    seams = {form.start(p) for p in form.passages}
    top = low + (high - low) * 0.75
    paths: dict[int, tuple[float, list[int]]] = {}
    for span in form.spans:
        options = [p for p in range(low, high + 1) if p % 12 == span.chord.bass]
        own = {p: 0.15 * (p - low) + (2.5 if p > top else 0.0) for p in options}
        if not paths:
            paths = {p: (own[p], [p]) for p in options}
            continue
        ease = 0.3 if span.start in seams else 1.0
        paths = {
            p: (cost + own[p], [*paths[at][1], p])
            for p in options
            for cost, at in [min((c + ease * _jump(p - q), q) for q, (c, _) in paths.items())]
        }
    best = min(paths.values())[1]
    return {span.start: pitch for span, pitch in zip(form.spans, best, strict=True)}


def _jump(interval: int) -> float:
    size = abs(interval)
    return size + 3.0 * max(0, size - 7)


def _step_cost(interval: int) -> float:
    size = abs(interval)
    if size == 0:
        return 4.0
    if size <= 2:
        return 0.0
    return {3: 0.5, 4: 0.6, 5: 0.9, 7: 1.3, 12: 2.0}.get(size, 1.0 + 0.4 * size)


def _goal_cost(pitch: int, goal: int | None) -> float:
    if goal is None:
        return 0.0
    return {1: 0.0, 2: 0.0, 0: 3.0, 5: 1.0, 7: 1.0}.get(abs(goal - pitch), 1.5)


def ring_root(player: Player, form: Form) -> Note | None:
    """The last root, under the ring-out."""
    if form.ring_bar is None or not isinstance(player.layer, Bass):
        return None
    start = form.ring_bar * form.grid.bar
    layer = player.layer
    pitch = _roots(form, layer.low, max(layer.high, layer.low + 12))[form.span_at(start).start]
    return Note(start, max(ringing(player.instrument, form.end - start), 1 / STEPS_PER_QUARTER), pitch, 96)
