"""Do the beat trackers find beats that are known? Against librosa's in the same run, where it is installed.

Songs of the built-in composer (the score says where every beat is), in every style, and click tracks of 60 to 180 BPM
in 3/4 and 4/4, with a change of tempo and with a drift. F-measure: a beat counts that lies within 70 ms of a true one;
all beats of the piece are counted. The level counts, too: beats at half or double the written tempo are half wrong;
notes tell how often that was so, and the F-measure on the level that fits best.

    python bench/beats.py [--quick] [--json] [--style NAME ...] [--weights FOLDER]

`--quick` takes one song of 30 s a style. `--weights` (a folder with final0.ckpt) adds Beat This. librosa is no
dependency: `pip install librosa` beside this project, not into an environment that anything else needs.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from listen import NARRATIVES
from report import Row, arguments, show
from tonewheel.audio.beats import NAME, track_beats
from tonewheel.audio.resample import resample
from tonewheel.composer.arrange import arrange
from tonewheel.composer.render import render
from tonewheel.composer.synth.rate import SAMPLE_RATE
from tonewheel.songs.planner import make_plan
from tonewheel.songs.request import plan_request
from tonewheel.styles.library import styles

TOLERANCE_S = 0.07
Times = NDArray[np.float64]
Samples = NDArray[np.float32]
Tracker = Callable[[Samples], tuple[Times, Times]]


@dataclass(frozen=True, slots=True)
class Piece:
    """`samples [n]` at 44,100 Hz with the beats that are truly there, in seconds."""

    group: str
    samples: Samples
    beats: Times
    downbeats: Times


# ── pieces ──────────────────────────────────────────────────────────────────────────────────────


def songs(names: list[str], seconds: int, seeds: tuple[int, ...]) -> Iterator[Piece]:
    for (index, name), seed in itertools.product(enumerate(names), seeds):
        narrative = NARRATIVES[(index + seed) % len(NARRATIVES)]
        score = arrange(make_plan(plan_request(narrative=narrative, style=name, duration_s=seconds, seed=seed)))
        quarters = max(s.start + s.quarters for s in score.sections)
        beats = np.arange(0, quarters - 1e-6) * score.quarter_s
        downbeats = np.arange(0, quarters - 1e-6, score.quarters_per_bar) * score.quarter_s
        yield Piece(name, render(score).mean(axis=0), beats, downbeats)


def clicks(quick: bool) -> Iterator[Piece]:
    for bpm in (60, 120, 180) if quick else (60, 75, 90, 105, 120, 135, 150, 165, 180):
        for meter in (3, 4):
            yield _clicked(f"clicks in {meter}/4", _beats(np.full(200, float(bpm)), 30), meter)
    for first, second in ((90, 120),) if quick else ((90, 120), (140, 110), (75, 100)):
        tempi = np.concatenate([np.full(int(first * 20 / 60), float(first)), np.full(400, float(second))])
        yield _clicked("clicks with a change of tempo", _beats(tempi, 40), 4)
    for first, second in ((100, 115),) if quick else ((100, 115), (130, 115), (80, 90)):
        yield _clicked("clicks that drift", _beats(np.linspace(first, second, int(40 * (first + second) / 120)), 40), 4)


def _beats(tempi: Times, seconds: float) -> Times:
    times = 0.5 + np.concatenate([[0.0], np.cumsum(60 / tempi)])
    return times[times < seconds - 0.2]


def _clicked(group: str, beats: Times, meter: int) -> Piece:
    """A tick on every beat, a higher and louder one on the first of the bar, over faint noise."""
    rng = np.random.default_rng(0)
    samples = (rng.standard_normal(round((beats[-1] + 1) * SAMPLE_RATE)) * 1e-4).astype(np.float32)
    t = np.arange(round(0.03 * SAMPLE_RATE)) / SAMPLE_RATE
    for index, beat in enumerate(beats):
        hertz, level = (1500, 0.8) if index % meter == 0 else (1000, 0.5)
        start = round(beat * SAMPLE_RATE)
        samples[start : start + len(t)] += (level * np.sin(2 * np.pi * hertz * t) * np.exp(-t * 200)).astype(np.float32)
    return Piece(group, samples, beats, beats[::meter])


# ── trackers ────────────────────────────────────────────────────────────────────────────────────


def onset(samples: Samples) -> tuple[Times, Times]:
    found = track_beats(samples[:, None], SAMPLE_RATE)
    return found.beats, found.downbeats


def librosa_tracker() -> tuple[str, Tracker] | None:
    """Its default beat tracker at its default rate; it tells no downbeats."""
    try:
        import librosa  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415
    except ImportError:
        return None

    def track(samples: Samples) -> tuple[Times, Times]:
        signal = resample(samples[:, None], SAMPLE_RATE, 22_050)[:, 0]
        _, beats = librosa.beat.beat_track(y=signal, sr=22_050, units="time")
        return np.asarray(beats, np.float64), np.empty(0)

    return f"librosa {librosa.__version__} beat_track", track


def beat_this(folder: Path) -> Tracker:
    from tonewheel.models.beat_this import FAMILY, peaks  # noqa: PLC0415
    from tonewheel.models.beat_this.checkpoint import find_weights, load_network  # noqa: PLC0415
    from tonewheel.models.beat_this.frames import logits_of  # noqa: PLC0415
    from tonewheel.models.beat_this.frontend import SAMPLE_RATE as RATE  # noqa: PLC0415
    from tonewheel.models.beat_this.frontend import LogMel  # noqa: PLC0415

    import torch  # noqa: PLC0415  # isort: skip

    network, mel = load_network(find_weights(folder, FAMILY.cards[0])), LogMel()

    def track(samples: Samples) -> tuple[Times, Times]:
        signal = resample(samples[:, None], SAMPLE_RATE, RATE)[:, 0]
        return peaks.pick(logits_of(network, mel(torch.from_numpy(signal))))

    return track


# ── measures ────────────────────────────────────────────────────────────────────────────────────


def f_measure(found: Times, true: Times) -> float:
    """2 hits / (found + true), each beat matched once."""
    if not len(found) or not len(true):
        return 0.0
    hits = i = j = 0
    while i < len(found) and j < len(true):
        difference = found[i] - true[j]
        if abs(difference) <= TOLERANCE_S:
            hits, i, j = hits + 1, i + 1, j + 1
        elif difference < 0:
            i += 1
        else:
            j += 1
    return 2 * hits / (len(found) + len(true))


def levels(beats: Times) -> dict[str, Times]:
    """The beats as somebody may count them who is not wrong altogether."""
    between = (beats[1:] + beats[:-1]) / 2
    return {
        "written": beats, "double": np.sort(np.concatenate([beats, between])), "half": beats[::2],
        "half, late": beats[1::2], "off-beat": between,
    }  # fmt: skip


@dataclass(slots=True)
class Scores:
    """Of one tracker on one group of pieces."""

    beats: list[float]
    downbeats: list[float]
    level: list[str]
    best: list[float]
    seconds: float = 0.0
    heard_s: float = 0.0

    def add(self, piece: Piece, track: Tracker) -> None:
        begun = time.process_time()
        beats, downbeats = track(piece.samples)
        self.seconds += time.process_time() - begun
        self.heard_s += len(piece.samples) / SAMPLE_RATE
        by_level = {name: f_measure(beats, times) for name, times in levels(piece.beats).items()}
        self.beats.append(by_level["written"])
        self.downbeats.append(f_measure(downbeats, piece.downbeats))
        self.level.append(max(by_level, key=lambda name: by_level[name]))
        self.best.append(max(by_level.values()))


def measure(pieces: Iterator[Piece], trackers: dict[str, Tracker]) -> dict[str, dict[str, Scores]]:
    """Scores by tracker, then by group."""
    found: dict[str, dict[str, Scores]] = {
        name: defaultdict(lambda: Scores([], [], [], [])) for name in trackers
    }  # fmt: skip
    for piece in pieces:
        for name, track in trackers.items():
            found[name][piece.group].add(piece, track)
        print(f"{piece.group}: {len(piece.beats)} beats", file=sys.stderr)
    return found


def rows(ours: dict[str, Scores], theirs: dict[str, Scores] | None, name: str, other: str) -> list[Row]:
    table = []
    for group, scores in ours.items():
        against = _mean(theirs[group].beats) if theirs else None
        table.append(_row(f"{name}: {group} ({len(scores.beats)})", _mean(scores.beats), against))
    everything = [f for scores in ours.values() for f in scores.beats]
    against = _mean([f for scores in theirs.values() for f in scores.beats]) if theirs else None
    vs = f" against {other}" if theirs else ""
    table.append(_row(f"{name}: all pieces{vs}", _mean(everything), against))
    table.append(_row(f"{name}: downbeats of all pieces", _mean([f for s in ours.values() for f in s.downbeats]), None))
    return table


def _row(name: str, ours: float, theirs: float | None) -> Row:
    ratio = round(ours / theirs, 2) if theirs else None
    return Row(name, round(ours, 3), None if theirs is None else round(theirs, 3), "F", ratio)


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else 0.0


def note(name: str, groups: dict[str, Scores]) -> str:
    told = [level for s in groups.values() for level in s.level]
    wrong = {level: told.count(level) for level in sorted(set(told)) if level != "written"}
    best = _mean([f for s in groups.values() for f in s.best])
    speed = sum(s.heard_s for s in groups.values()) / max(sum(s.seconds for s in groups.values()), 1e-9)
    octaves = ", ".join(f"{count} {level}" for level, count in wrong.items()) or "none"
    return f"{name}: other levels than the written one: {octaves} of {len(told)}; F on the best level {best:.3f}; " \
           f"{speed:.0f} x real time on a core"  # fmt: skip


def main() -> None:
    def more(parser: Any) -> None:
        parser.add_argument("--style", action="append", help="only these styles")
        parser.add_argument("--weights", type=Path, help="a folder with final0.ckpt: Beat This, too")

    args = arguments(__doc__, more)
    names = args.style or list(styles())
    trackers: dict[str, Tracker] = {NAME: onset}
    other = librosa_tracker()
    if other:
        trackers[other[0]] = other[1]
        other[1](np.zeros(SAMPLE_RATE, np.float32))  # it compiles at its first use
    if args.weights:
        trackers["beat_this final0"] = beat_this(args.weights)
    pieces = itertools.chain(clicks(args.quick), songs(names, *((30, (1,)) if args.quick else (60, (1, 2, 3)))))
    found = measure(pieces, trackers)
    theirs = found[other[0]] if other else None
    table = [row for name in found if not other or name != other[0]
             for row in rows(found[name], theirs, name, other[0] if other else "")]  # fmt: skip
    show(table, args.json, [note(name, groups) for name, groups in found.items()])


if __name__ == "__main__":
    main()
