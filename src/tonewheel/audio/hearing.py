"""What can be told of a recording without any model: tempo and beats by their onsets, key, loudness, spectrum."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import asdict
from typing import Any, Literal, get_args

from tonewheel.audio import loudness
from tonewheel.audio.beats import NAME as ONSET
from tonewheel.audio.beats import track_beats
from tonewheel.audio.key import KeyEstimate, estimate_key
from tonewheel.audio.report import jsonable
from tonewheel.audio.spectrum import Samples, balance
from tonewheel.audio.tempo import Tempo, estimate_tempo

Task = Literal["tempo", "beats", "key", "loudness", "spectrum"]
TASKS: tuple[Task, ...] = get_args(Task)


def hear(
    samples: Samples, rate: int, tasks: Collection[str], tell: Callable[[str, float], None] = lambda _s, _f: None
) -> dict[str, Any]:
    """Of `samples [n, channels]` what `tasks` name, in plain JSON types; None for what cannot be told.

    `tempo` {model, bpm, confidence, octaves} · `beats` {model, and the words of `audio.rhythm`} · `key` {key,
    confidence, runner_up, inside} · `loudness` {lufs, range_lu, true_peak_dbtp, peak_dbfs} · `spectrum` percent of
    the energy by band.
    """
    listeners: dict[str, Callable[[], Any]] = {
        "tempo": lambda: _named(estimate_tempo(samples, rate)),
        "beats": lambda: {"model": ONSET, **track_beats(samples, rate).to_dict()},
        "key": lambda: _plain(estimate_key(samples, rate)),
        "loudness": lambda: _loudness(samples, rate),
        "spectrum": lambda: balance(samples, rate),
    }
    wanted = [task for task in TASKS if task in tasks]
    told: dict[str, Any] = {}
    for done, task in enumerate(wanted):
        tell(task, done / len(wanted))
        told[task] = jsonable(listeners[task]())
    return told


def _plain(told: KeyEstimate | None) -> dict[str, Any] | None:
    return None if told is None else asdict(told)


def _named(tempo: Tempo | None) -> dict[str, Any] | None:
    return None if tempo is None else {"model": ONSET, **asdict(tempo)}


def _loudness(samples: Samples, rate: int) -> dict[str, float | None]:
    hops, peak = loudness.hop_powers(samples, rate), loudness.sample_peak(samples)
    return {
        "lufs": loudness.gated_loudness(hops),
        "range_lu": loudness.loudness_range(hops),
        "true_peak_dbtp": loudness.true_peak_dbtp(samples, rate),
        "peak_dbfs": 20 * math.log10(peak) if peak > 0 else None,
    }
