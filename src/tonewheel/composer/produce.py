"""From a plan to the files a user keeps: song, MIDI, stems, timed lyrics."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tonewheel import __version__
from tonewheel.audio.checks import check
from tonewheel.audio.formats import Format, format_of
from tonewheel.audio.report import Report
from tonewheel.audio.tags import Tags
from tonewheel.audio.write import encode
from tonewheel.composer.arrange import arrange, style_for
from tonewheel.composer.lrc import to_lrc
from tonewheel.composer.midi import to_midi
from tonewheel.composer.mix.filters import Samples
from tonewheel.composer.render import StemSink, render
from tonewheel.composer.score import Score
from tonewheel.composer.synth.rate import SAMPLE_RATE
from tonewheel.errors import InvalidRequest, RenderFault
from tonewheel.files import check_folder, check_target, whole_folder, write_set
from tonewheel.songs.plan import SongPlan

Progress = Callable[[str, float], None]  # stage, fraction of that stage


@dataclass(frozen=True, slots=True)
class Outputs:
    """Which files to make. `song` decides the format by its ending; the others are optional."""

    song: Path
    midi: Path | None = None
    lrc: Path | None = None
    stems: Path | None = None  # a folder, one file a part
    soundfont: Path | None = None  # for acoustic parts; None = all parts by the built-in synth
    force: bool = False

    @property
    def format(self) -> Format:
        return format_of(self.song)

    def check(self) -> None:
        """Refuse targets that cannot be written, before any work."""
        format_of(self.song)
        for path in (self.song, self.midi, self.lrc):
            if path is not None:
                check_target(path, self.force)
        if self.stems is not None:
            check_folder(self.stems, self.force)
        if self.soundfont is not None and not self.soundfont.is_file():
            raise InvalidRequest(
                f"SoundFont {str(self.soundfont)!r} does not exist: give a .sf2 or .sf3 file", param="soundfont"
            )


@dataclass(frozen=True, slots=True)
class Made:
    """What was made: the paths, the measured report and the seconds each stage took."""

    plan: SongPlan
    score: Score
    files: tuple[Path, ...]
    report: Report
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def real_time_factor(self) -> float:
        return sum(self.seconds.values()) / self.plan.duration_s


def produce(plan: SongPlan, outputs: Outputs, progress: Progress | None = None) -> Made:
    """Render `plan` into `outputs`: all files appear, or none.

    Raises OutputRefused and DiskFull for the targets, RenderFault when the result fails its checks.
    """
    clock = _Clock(progress)
    outputs.check()
    clock.enter("arrange", 0.0)
    style, note = style_for(plan)
    score = arrange(plan, style)
    with ExitStack() as stack:
        sink: StemSink | None = None
        if outputs.stems is not None:
            folder = stack.enter_context(whole_folder(outputs.stems, force=outputs.force))
            sink = _into(folder, plan)
        samples = render(score, progress=clock.enter, on_stem=sink, soundfont=outputs.soundfont)
        clock.enter("check", 0.0)
        report = sound_report(samples, plan)
        clock.enter("encode", 0.0)
        files = {
            outputs.song: encode(samples.T, SAMPLE_RATE, outputs.format, tags_of(plan, score, note, outputs.soundfont))
        }
        if outputs.midi is not None:
            files[outputs.midi] = to_midi(score)
        if outputs.lrc is not None:
            files[outputs.lrc] = to_lrc(score).encode()
        clock.enter("write", 0.0)
        write_set(files, force=outputs.force)
    clock.done()
    made = (*files, *([outputs.stems] if outputs.stems else []))
    return Made(plan, score, tuple(made), report, clock.seconds)


def tags_of(plan: SongPlan, score: Score, note: str | None = None, soundfont: Path | None = None) -> Tags:
    """What the file says of itself: enough to know how it was made and to make it again."""
    lyrics = "\n\n".join("\n".join([f"[{s.label}]", *s.lyrics]) for s in plan.sections if s.lyrics)
    extra = {
        "tonewheel_plan": json.dumps(plan.to_dict(), ensure_ascii=False, separators=(",", ":")),
        "tonewheel_seed": str(plan.seed),
        "tonewheel_style": score.style,
        "tonewheel_model": "composer",
        "tonewheel_version": __version__,
    }
    if soundfont:
        extra["tonewheel_soundfont"] = soundfont.name
    if note:
        extra["tonewheel_note"] = note
    return Tags(
        title=plan.title, artist=plan.artist, genre=plan.genre, lyrics=lyrics or None, bpm=plan.tempo, key=plan.key,
        comment=f"Made by Tonewheel {__version__} with its built-in composer", extra=extra,
    )  # fmt: skip


def _into(folder: Path, plan: SongPlan) -> StemSink:
    def write(part_id: str, stem: Samples) -> None:
        (folder / f"{part_id}.flac").write_bytes(stem_file(part_id, stem, plan))

    return write


def stem_file(part_id: str, stem: Samples, plan: SongPlan) -> bytes:
    """One part alone as FLAC, 24 bits. Stems are not mastered: a hot one is brought under full scale, not clipped."""
    tags = Tags(title=f"{plan.title} ({part_id})", artist=plan.artist)
    peak = float(np.abs(stem).max(initial=0.0))
    scaled = stem * np.float32(min(1.0, 0.98 / peak)) if peak > 0 else stem
    return encode(scaled.T, SAMPLE_RATE, "flac", tags, bits=24)


def sound_report(samples: Samples, plan: SongPlan) -> Report:
    """The report of a song [2, n] that passed its checks. A silent or broken one, or one of the wrong length, is a
    fault of ours and no result: raises RenderFault."""
    report = check(samples.T, SAMPLE_RATE, expected_duration_s=plan.duration_s, thorough=False)
    faults = [f.message for f in report.findings if f.severity == "fault"]
    if faults:
        raise RenderFault(
            f"the rendered song failed its checks: {'; '.join(faults)} (seed {plan.seed}): please report it"
        )
    return report


class _Clock:
    """Progress and the seconds of each stage."""

    def __init__(self, progress: Progress | None) -> None:
        self.seconds: dict[str, float] = {}
        self._tell: Callable[..., Any] = progress or (lambda _stage, _fraction: None)
        self._stage: str | None = None
        self._since = time.perf_counter()

    def enter(self, stage: str, fraction: float) -> None:
        if stage != self._stage:
            self.done()
            self._stage = stage
        self._tell(stage, fraction)

    def done(self) -> None:
        now = time.perf_counter()
        if self._stage is not None:
            self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._since
        self._since = now
