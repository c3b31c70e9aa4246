"""The composer behind the four verbs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tonewheel.audio.checks import Report
from tonewheel.composer.arrange import arrange, style_for
from tonewheel.composer.lrc import to_lrc
from tonewheel.composer.midi import to_midi
from tonewheel.composer.produce import sound_report, stem_file, tags_of
from tonewheel.composer.render import render
from tonewheel.composer.score import Score
from tonewheel.composer.synth.rate import SAMPLE_RATE
from tonewheel.models.base import Audio, Blob, Model, Result, RunContext
from tonewheel.models.composer.contract import ComposerRequest
from tonewheel.settings import settings
from tonewheel.songs.plan import SongPlan
from tonewheel.songs.planner import make_plan
from tonewheel.styles.library import get_style, styles

# Where in the whole work each stage begins, measured on 60 s songs (the rest is encoding).
_BEGINS = {"plan": 0.0, "arrange": 0.02, "stems": 0.06, "mix": 0.58, "master": 0.72, "check": 0.86}
_ENDS = dict(zip(_BEGINS, [*list(_BEGINS.values())[1:], 0.88], strict=True))


class Composer(Model[ComposerRequest]):
    """Plans, arranges, renders and checks one song at a time."""

    def load(self, context: RunContext) -> None:
        """Read the styles and make one plan, so that the first request is as quick as the next."""
        context.progress("styles", 0.0)
        styles()
        context.progress("planner", 0.5)
        make_plan(ComposerRequest(narrative="warm up", duration=10, seed=0).to_plan_request())

    def validate(self, request: ComposerRequest) -> ComposerRequest:
        if request.style is not None:
            get_style(request.style)
        return request

    def run(self, request: ComposerRequest, context: RunContext) -> Result:
        tell = _telling(context)
        tell("plan", 0.0)
        plan = plan_of(request)
        tell("arrange", 0.0)
        style, note = style_for(plan)
        score = arrange(plan, style)
        stems: list[dict[str, Any]] = []
        soundfont = settings().soundfont
        sink = _keep_stems(stems, plan) if request.stems else None
        samples = render(score, progress=tell, on_stem=sink, soundfont=soundfont)
        tell("check", 0.0)
        report = sound_report(samples, plan)
        audio = Audio(samples.T, SAMPLE_RATE, request.format, tags_of(plan, score, note, soundfont))
        fields = _fields(audio, plan, score, report) | _extras(request, score, stems)
        return Result(fields, audio, seed=plan.seed, duration_s=audio.duration_s)


def plan_of(request: ComposerRequest) -> SongPlan:
    """The plan given, with its style or seed replaced where the request says so; or one made from the narrative."""
    if request.plan is None:
        return make_plan(request.to_plan_request())
    changes: dict[str, object] = {}
    if request.style is not None:
        changes |= {"genre": get_style(request.style).title, "instrumentation": ()}
    if request.seed is not None:
        changes["seed"] = request.seed
    return SongPlan.model_validate(request.plan.to_dict() | changes) if changes else request.plan


def _telling(context: RunContext) -> Callable[[str, float], None]:
    """The composer tells the share of a stage; the context wants the share of the whole."""

    def tell(stage: str, fraction: float) -> None:
        begin, end = _BEGINS[stage], _ENDS[stage]
        context.progress(stage, begin + (end - begin) * fraction)

    return tell


def _fields(audio: Audio, plan: SongPlan, score: Score, report: Report) -> dict[str, Any]:
    return {
        "audio_base64": audio,
        "format": audio.format,
        "sample_rate": audio.sample_rate,
        "duration": audio.duration_s,
        "num_samples": len(audio.samples),
        "channels": audio.channels,
        "title": plan.title,
        "plan": plan.to_dict(),
        "style": score.style,
        "loudness_lufs": _finite(report.lufs),
        "true_peak_dbtp": _finite(report.true_peak_dbtp),
    }


def _finite(value: float) -> float:
    return round(value, 2) if math.isfinite(value) else -120.0


def _extras(request: ComposerRequest, score: Score, stems: list[dict[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if request.midi:
        made["midi_base64"] = Blob(to_midi(score), "audio/midi", "song.mid")
    if request.lrc:
        made["lrc"] = to_lrc(score)
    if request.stems:
        made["stems"] = stems
    return made


def _keep_stems(stems: list[dict[str, Any]], plan: SongPlan) -> Callable[[str, NDArray[np.float32]], None]:
    """A sink that keeps each stem encoded: as samples they would fill the memory."""

    def keep(part: str, stem: NDArray[np.float32]) -> None:
        data = stem_file(part, stem, plan)
        stems.append({"name": part, "audio_base64": Blob(data, "audio/flac", f"{part}.flac")})

    return keep
