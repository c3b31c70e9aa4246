"""From pattern strings to events: a whole song of a part as one row of steps, then its strokes."""

from __future__ import annotations

from dataclasses import dataclass

from tonewheel.composer.grid import STEPS_PER_QUARTER, fit_bar
from tonewheel.composer.harmony import Span
from tonewheel.composer.layers import Layering
from tonewheel.composer.players import Player
from tonewheel.composer.sections import Form, Passage
from tonewheel.seeds import stream
from tonewheel.styles.schema import Level

_PUSH_STEPS = 2  # a stroke at most an eighth before a chord change that holds into it belongs to the new chord


@dataclass(frozen=True, slots=True)
class Stroke:
    """One sign of a pattern on the grid: `step` and `length` in steps, `first` False where a chord change
    cut a held stroke in two."""

    sign: str
    step: int
    length: int
    span: Span
    first: bool = True

    @property
    def start(self) -> float:
        return self.step / STEPS_PER_QUARTER

    @property
    def duration(self) -> float:
        return self.length / STEPS_PER_QUARTER


def choose_variants(form: Form, passage: Passage, part: str, count: int) -> tuple[int, int]:
    """Which of `count` variants a part plays in the first and second half of a passage. The same kind of
    section starts from the same variant, so that a verse is known again; later ones move on by one."""
    if count == 1:
        return 0, 0
    rng = stream(form.seed, "variant", part, passage.kind)
    order = list(range(count))
    rng.shuffle(order)
    turn = passage.occurrence // 2 if passage.kind == "chorus" else passage.occurrence
    return order[turn % count], order[(turn + 1) % count]


def song_row(form: Form, layering: Layering, player: Player, levels: dict[Level, list[str]], onset: str) -> str:
    """All steps of the song for a part with one row of signs. `onset` replaces a hold that has nothing to
    hold on to at the start of a bar."""
    bars = []
    for passage in form.passages:
        for i in range(passage.bars):
            level = layering.levels[player.id][passage.bar + i]
            if level is None:
                bars.append("." * form.grid.steps)
                continue
            variants = levels[level]
            first, second = choose_variants(form, passage, player.id, len(variants))
            row = variants[second if in_second_half(passage, i) else first]
            bars.append(fit_bar(row, form.pattern_steps, i, form.grid.upper, form.grid.lower))
    return _mend("".join(bars), form.grid.steps, onset)


def in_second_half(passage: Passage, bar: int) -> bool:
    """Eight bars and more change after their half; four bars change their last."""
    if passage.bars >= 8:
        return bar % 8 in (6, 7) if passage.bars >= 16 else bar >= passage.bars // 2
    return passage.bars >= 4 and bar == passage.bars - 1


def _mend(row: str, steps: int, onset: str) -> str:
    signs = list(row)
    for i in range(0, len(signs), steps):
        if signs[i] == "-" and (i == 0 or signs[i - 1] == "."):
            signs[i] = onset
    return "".join(signs)


def strokes(row: str, form: Form, onsets: str) -> list[Stroke]:
    """The strokes of a song row: each sign in `onsets` begins one, `-` holds it. A chord change cuts a
    held stroke; a stroke just before the change that holds into it is a push and takes the new chord."""
    out: list[Stroke] = []
    step = 0
    while step < len(row):
        sign = row[step]
        if sign not in onsets:
            step += 1
            continue
        end = step + 1
        while end < len(row) and row[end] == "-":
            end += 1
        out += _cut(sign, step, end, form)
        step = end
    return out


def _cut(sign: str, step: int, end: int, form: Form) -> list[Stroke]:
    pieces = []
    at, index = step, form.under[step]
    for s in range(step + 1, end):
        if form.under[s] != index:
            if at == step and s - step <= _PUSH_STEPS:
                index = form.under[s]
                continue
            pieces.append(Stroke(sign, at, s - at, form.spans[index], at == step))
            at, index = s, form.under[s]
    pieces.append(Stroke(sign, at, end - at, form.spans[index], at == step))
    return pieces
