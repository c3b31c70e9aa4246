"""Does what the composer makes hold what is promised? Measured on songs of every style, not heard.

For each style x narratives x durations x seeds a song is made and measured: duration, loudness, true peak, silence,
tempo by the independent tracker of `audio/`, chroma inside the planned key, chorus against verse; and over all songs:
no two melodies or lyrics alike, the same seed byte-identical, another seed different.

    python bench/listen.py [--quick] [--json] [--style NAME ...] [--jobs N]

The full run is 15 styles x 5 x 3 x 3 songs; `--quick` takes one song of 15 s a style. Ends with 1 when a promise fails.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import multiprocessing
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from report import Row, arguments, median, show
from tonewheel.audio.checks import check
from tonewheel.audio.key import chroma_in_key
from tonewheel.audio.tempo import estimate_tempo, fold
from tonewheel.composer.arrange import arrange
from tonewheel.composer.render import render
from tonewheel.composer.score import Score, ScoreSection
from tonewheel.composer.synth.rate import SAMPLE_RATE
from tonewheel.songs.plan import SongPlan
from tonewheel.songs.planner import make_plan
from tonewheel.songs.request import plan_request
from tonewheel.styles.library import styles

NARRATIVES = (
    "An old lighthouse keeper counts the waves every night. The ships stopped coming, but he still lights the lamp.",
    "We drove all summer with the windows down, singing out of tune. I was nineteen and nothing could hurt us.",
    "A small robot wakes up in an empty factory and learns to paint. Nobody told it the world had ended.",
    "Grandmother's kitchen smelled of cinnamon and rain. She hummed while the bread was rising.",
    "The city burns and the soldiers run. My brother never came home, and I still hear the sirens.",
)
DURATIONS = (15, 60, 180)
SEEDS = (1, 2, 3)
Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Case:
    style: str
    narrative: int
    duration: int
    seed: int


@dataclass(slots=True)
class Heard:
    """Measures of one song; `failed` names the promises it breaks."""

    case: Case
    duration_error_s: float
    lufs: float
    true_peak_dbtp: float
    silence: float
    tempo_error: float | None
    in_key: float
    lift: dict[str, float]
    melody: str
    words: str
    digest: str
    failed: list[str] = field(default_factory=list)


def make(case: Case) -> tuple[SongPlan, Score, Samples]:
    request = plan_request(
        narrative=NARRATIVES[case.narrative], style=case.style, duration_s=case.duration, seed=case.seed
    )
    plan = make_plan(request)
    score = arrange(plan)
    return plan, score, render(score)


def listen(case: Case) -> Heard:
    plan, score, audio = make(case)
    report = check(audio.T, SAMPLE_RATE, expected_duration_s=case.duration, thorough=False)
    tempo = estimate_tempo(audio.T, SAMPLE_RATE)
    # The plan counts beats; so does the tracker, up to octaves.
    error = abs(fold(tempo.bpm, plan.tempo) / plan.tempo - 1) if tempo else None
    melody = next((p for p in score.parts if p.role == "melody"), None)
    opening = [(round(n.start * 4), n.pitch) for n in melody.notes[:24]] if melody else []
    heard = Heard(
        case=case,
        duration_error_s=abs(audio.shape[1] / SAMPLE_RATE - case.duration),
        lufs=report.lufs,
        true_peak_dbtp=report.true_peak_dbtp,
        silence=report.silence_share,
        tempo_error=error,
        in_key=chroma_in_key(audio.T, SAMPLE_RATE, plan.parsed_key.scale),
        lift=chorus_lift(score, audio),
        melody=hashlib.sha256(repr(opening).encode()).hexdigest()[:16],
        words="\n".join(line for s in plan.sections for line in s.lyrics),
        digest=hashlib.sha256(audio.tobytes()).hexdigest(),
    )
    heard.failed = broken_promises(heard)
    return heard


def broken_promises(h: Heard) -> list[str]:
    checks: list[tuple[str, bool]] = [
        ("duration", h.duration_error_s <= 0.1),
        ("loudness", abs(h.lufs + 14) <= 0.5),
        ("true peak", h.true_peak_dbtp <= -1.0),
        ("silence", h.silence < 0.08),
        ("tempo", h.tempo_error is not None and h.tempo_error <= 0.02),
        ("key", h.in_key >= 0.9),
        ("chorus lift", not h.lift or max(h.lift.values()) > 1.0),
    ]
    return [name for name, kept in checks if not kept]


def chorus_lift(score: Score, audio: Samples) -> dict[str, float]:
    """Chorus over verse: loudness, onset density and brightness (ratios of medians); empty without both."""
    by_role: dict[str, list[dict[str, float]]] = defaultdict(list)
    for section in score.sections:
        if section.role in ("verse", "chorus"):
            by_role[section.role].append(_measure(section, score, audio))
    if len(by_role) < 2:
        return {}
    return {
        name: median([m[name] for m in by_role["chorus"]]) / max(median([m[name] for m in by_role["verse"]]), 1e-9)
        for name in ("loudness", "density", "brightness")
    }


def _measure(section: ScoreSection, score: Score, audio: Samples) -> dict[str, float]:
    start = int(section.start * score.quarter_s * SAMPLE_RATE)
    stop = int((section.start + section.quarters) * score.quarter_s * SAMPLE_RATE)
    part = audio[:, start:stop].mean(axis=0)
    power = np.abs(np.fft.rfft(part)) ** 2
    hz = np.fft.rfftfreq(part.size, 1 / SAMPLE_RATE)
    notes = sum(
        section.start <= n.start < section.start + section.quarters
        for p in score.parts
        for n in p.notes
        if p.role != "effects"
    )
    return {
        "loudness": float(np.sqrt(np.mean(part**2))),
        "density": notes / max(section.quarters, 1e-9),
        "brightness": float((power * hz).sum() / power.sum()),
    }


def over_all(heard: list[Heard], repeat: Callable[[Case], Heard]) -> list[str]:
    """Promises about songs beside each other."""
    failed = []
    for name in ("melody", "words"):
        seen: dict[tuple[str, str], Case] = {}
        for h in heard:
            value = str(getattr(h, name))
            other = seen.setdefault((h.case.style, value), h.case)
            if value and other.narrative != h.case.narrative:
                failed.append(f"the same {name} for two narratives: {other} and {h.case}")
    digests = Counter(h.digest for h in heard)
    failed += [f"{count} songs have the same bytes" for count in digests.values() if count > 1]
    for h in heard[:: max(1, len(heard) // 8)]:
        if repeat(h.case).digest != h.digest:
            failed.append(f"not the same bytes again: {h.case}")
    return failed


def main() -> None:
    def more(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--style", action="append", help="only these styles")
        parser.add_argument("--duration", action="append", type=int, help="only these durations")
        parser.add_argument("--jobs", type=int, default=2, help="processes")

    args = arguments(__doc__, more)
    names = args.style or list(styles())
    durations = tuple(args.duration) if args.duration else DURATIONS
    if args.quick:
        cases = [Case(s, i % len(NARRATIVES), 15, 1) for i, s in enumerate(names)]
    else:
        grid = itertools.product(names, range(len(NARRATIVES)), durations, SEEDS)
        cases = [Case(*values) for values in grid]
    heard = []
    with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
        for done, h in enumerate(pool.imap(listen, cases), 1):
            heard.append(h)
            if h.failed or done % 25 == 0:
                print(f"{done}/{len(cases)} {h.case}: {', '.join(h.failed) or 'ok'}  {_figures(h)}", file=sys.stderr)
    failed = over_all(heard, listen)
    show(
        rows(heard), args.json, [*failed, f"{sum(bool(h.failed) for h in heard)} of {len(heard)} songs break a promise"]
    )
    sys.exit(1 if failed or any(h.failed for h in heard) else 0)


def _figures(h: Heard) -> str:
    tempo = "none" if h.tempo_error is None else f"{100 * h.tempo_error:.1f} %"
    lift = ", ".join(f"{k} x{v:.2f}" for k, v in h.lift.items())
    level = f"{h.lufs:.2f} LUFS, {h.true_peak_dbtp:.2f} dBTP, silence {h.silence:.3f}"
    return f"[{level}, tempo {tempo}, key {h.in_key:.3f}; {lift}]"


def rows(heard: list[Heard]) -> list[Row]:
    """A row a style: the share of songs that keep all promises, and the worst of each measure."""
    table = []
    by_style: dict[str, list[Heard]] = defaultdict(list)
    for h in heard:
        by_style[h.case.style].append(h)
    for style, songs in by_style.items():
        kept = sum(not h.failed for h in songs) / len(songs)
        table.append(Row(f"{style}: songs that keep every promise ({len(songs)})", round(kept, 3), None, "share", None))
        table.append(Row(f"{style}: least chroma in key", round(min(h.in_key for h in songs), 3), None, "share", None))
        errors = [100.0 if h.tempo_error is None else 100 * h.tempo_error for h in songs]
        table.append(Row(f"{style}: largest tempo error", round(max(errors), 2), None, "%", None))
        table.append(Row(f"{style}: most silence", round(max(h.silence for h in songs), 3), None, "share", None))
    return table


if __name__ == "__main__":
    main()
