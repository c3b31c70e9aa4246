"""What helper processes do: plan, check, analyse, finish. Plain JSON in and out, sound in files.

Imports are inside: a helper loads what its task needs and keeps it for the next one.
"""

# ruff: noqa: PLC0415
from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tonewheel.errors import RenderFault

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tonewheel.audio.tags import Tags

    Samples = NDArray[np.float32]

Args = dict[str, Any]
Tell = Callable[[str, float], None]

TARGET_LUFS = -14.0
CEILING_DBTP = -1.0


def plan(args: Args, tell: Tell) -> Args:
    """`request` (fields of PlanRequest) → `plan`."""
    from tonewheel.songs import make_plan, plan_request

    return {"plan": make_plan(plan_request(**args["request"])).to_dict()}


def check(args: Args, tell: Tell) -> Args:
    """`audio`, `duration_s` or None → `report`. Raises RenderFault for what must not be handed out."""
    from tonewheel.audio.checks import check as measure
    from tonewheel.audio.read import read

    audio = read(args["audio"])
    samples, rate = audio.samples, audio.rate
    report = measure(samples, rate, expected_duration_s=args.get("duration_s"), thorough=False)
    faults = [f.message for f in report.findings if f.severity == "fault"]
    if faults:
        raise RenderFault(f"the rendered song failed its checks: {'; '.join(faults)}")
    return {"report": report.to_dict()}


def analyse(args: Args, tell: Tell) -> Args:
    """`audio` → `tempo`, `beats` and `key` as heard, None where they cannot be told."""
    from tonewheel.audio.hearing import hear
    from tonewheel.audio.read import read

    audio = read(args["audio"])
    told = hear(audio.samples, audio.rate, ("tempo", "beats", "key"), tell)
    return told | {"beats": rhythm(told["beats"]["model"], told["beats"])}


def rhythm(model: str, told: Mapping[str, Any]) -> Args | None:
    """What is kept with a song of what a tracker told, None for no beats: a list of ten minutes' songs must not weigh
    megabytes, and markers follow from beats and downbeats."""
    if not told["beats"]:
        return None
    tempo = told.get("tempo")
    kept = {name: [round(t, 3) for t in told[name]] for name in ("beats", "downbeats")}
    line = {name: value for name, value in tempo.items() if name != "course"} if tempo else None
    return {"model": model, "bpm": told["bpm"], "tempo": line, "meter": told.get("meter"), **kept}


def hearable(args: Args, tell: Tell) -> Args:
    """`audio`, `out` → the recording as small as models that listen can have it: FLAC, mono, 48 kHz."""
    import io

    import soundfile

    from tonewheel.audio.read import read
    from tonewheel.audio.resample import resample
    from tonewheel.audio.spectrum import mono

    audio = read(args["audio"])
    file = io.BytesIO()
    soundfile.write(file, resample(mono(audio.samples), audio.rate, 48_000), 48_000, format="FLAC", subtype="PCM_16")
    return {"audio": _write(Path(args["out"]), file.getbuffer())}


def listen(args: Args, tell: Tell) -> Args:
    """`audio` (somebody else's file), `tasks` of `audio.hearing` → what they told, and what the file is."""
    from tonewheel.audio import incoming
    from tonewheel.audio.hearing import hear

    # As floats these are half a gigabyte, of which the analyses make copies.
    limits = incoming.Limits(seconds=1200.0, samples=120_000_000)
    sound = incoming.decode(Path(args["audio"]), limits, name="the audio", param="audio")
    about = {"duration_s": sound.duration_s, "sample_rate": sound.rate, "channels": sound.channels}
    return about | {"format": sound.format} | hear(sound.samples, sound.rate, args["tasks"], tell)


def finish(args: Args, tell: Tell) -> Args:
    """`audio`, `format`, `mastered`, `tags`, `out` → the file as the user gets it, and its `duration_s`."""
    import numpy as np

    from tonewheel.audio.read import read
    from tonewheel.audio.write import encode

    audio = read(args["audio"])
    samples, rate = audio.samples, audio.rate
    gain_db = 0.0 if args["mastered"] else _gain_to_level(samples, rate)
    if gain_db:
        samples = samples * np.float32(10 ** (gain_db / 20))
    data = encode(samples, rate, args["format"], _tags(args["tags"]), on_progress=lambda share: tell("encode", share))
    _write(Path(args["out"]), data)
    return {"duration_s": len(samples) / rate, "gain_db": gain_db}


TASKS: Mapping[str, Callable[[Args, Tell], Args]] = {
    "plan": plan, "check": check, "analyse": analyse, "finish": finish, "listen": listen, "hearable": hearable,
}  # fmt: skip


def _tags(values: Args) -> Tags:
    from tonewheel.audio.tags import Tags

    return Tags(**values)


def _gain_to_level(samples: Samples, rate: int) -> float:
    """Decibels that make it as loud as songs are, or less where its peaks would pass the ceiling."""
    import math

    from tonewheel.audio import loudness

    level = loudness.gated_loudness(loudness.hop_powers(samples, rate))
    peak = loudness.true_peak_dbtp(samples, rate)
    return min(TARGET_LUFS - level, CEILING_DBTP - peak) if math.isfinite(level) and math.isfinite(peak) else 0.0


def _write(path: Path, data: bytes | memoryview) -> str:
    from tonewheel.files import whole_file

    with whole_file(path, force=True) as out:
        out.write(data)
    return str(path)


def sidecar(song: Args) -> bytes:
    """The provenance of a song as a JSON file: how it was made, and what it takes to make it again."""
    return (json.dumps(song, indent=2, ensure_ascii=False, sort_keys=True) + "\n").encode()
