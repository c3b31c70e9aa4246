"""How fast the built-in composer is: seconds, CPU and memory of a song, cold and warm, stage by stage.

Ours is the whole way from narrative to MP3. Theirs is FluidSynth rendering the very same notes (our MIDI)
with a General MIDI SoundFont to WAV: no planning, no arranging, no per-part mix, no mastering, no MP3. Install it with
`apt-get install fluidsynth fluidr3mono-gm-soundfont`, or name a SoundFont with --soundfont.

    python bench/compose.py [--quick] [--json] [--soundfont FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from report import Row, arguments, lower_is_better, median, show

NARRATIVE = (
    "An old lighthouse keeper counts the waves every night. The ships stopped coming, but he still lights the lamp."
)
SOUNDFONTS = (
    "/usr/share/sounds/sf3/FluidR3Mono_GM.sf3",
    "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "/usr/share/sounds/sf2/default-GM.sf2",
)
# Run in a child: imports and plan once, then the warm renders; prints the seconds of each stage.
_WARM = """
import json, sys, time
from pathlib import Path
from tonewheel.composer.produce import Outputs, produce
from tonewheel.songs.planner import make_plan
from tonewheel.songs.request import plan_request
narrative, style, duration, runs, folder = sys.argv[1:]
rows = []
for run in range(int(runs) + 1):
    begin = time.perf_counter()
    plan = make_plan(plan_request(narrative=narrative, style=style, duration_s=float(duration), seed=11))
    planned = time.perf_counter() - begin
    made = produce(plan, Outputs(Path(folder) / "warm.mp3", midi=Path(folder) / "warm.mid", force=True))
    if run:
        rows.append({"plan": planned, **made.seconds})
print(json.dumps(rows))
"""


@dataclass(frozen=True, slots=True)
class Run:
    wall_s: float
    cpu_s: float
    peak_mb: float
    output: str


def run(command: list[str]) -> Run:
    """One child on one core, measured by the operating system's own account of it."""
    with tempfile.TemporaryFile("w+") as out:
        begin = time.perf_counter()
        pinned = ["taskset", "-c", str(max(os.sched_getaffinity(0))), *command] if shutil.which("taskset") else command
        child = subprocess.Popen(pinned, stdout=out, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"{' '.join(command)[:200]} ended with {child.returncode}")
        out.seek(0)
        return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, out.read())


def bench(duration: int, style: str, runs: int, soundfont: Path | None, folder: Path) -> list[Row]:
    song = [sys.executable, "-m", "tonewheel.cli.main", "song", NARRATIVE, "--style", style, "--seed", "11", "--quiet",
            "--duration", str(duration), "--force", "--output", str(folder / "cold.mp3")]  # fmt: skip
    cold = [run(song) for _ in range(runs)]
    warm_run = run([sys.executable, "-c", _WARM, NARRATIVE, style, str(duration), str(runs), str(folder)])
    warm = json.loads(warm_run.output)
    theirs = _fluidsynth(folder / "warm.mid", soundfont, runs, folder)
    at = f"{duration:3d} s {style}"
    total = median([sum(w.values()) for w in warm])
    rows = [
        lower_is_better(f"{at}: cold, wall", median([c.wall_s for c in cold]), theirs.wall_s if theirs else None, "s"),
        lower_is_better(f"{at}: cold, CPU", median([c.cpu_s for c in cold]), theirs.cpu_s if theirs else None, "s"),
        lower_is_better(f"{at}: peak memory", max(c.peak_mb for c in cold), theirs.peak_mb if theirs else None, "MB"),
        lower_is_better(f"{at}: warm, wall", total, theirs.wall_s if theirs else None, "s"),
        lower_is_better(
            f"{at}: warm, real-time factor", total / duration, theirs.wall_s / duration if theirs else None, "x"
        ),
    ]
    stages = [lower_is_better(f"{at}:   warm {name}", median([w[name] for w in warm]), None, "s") for name in warm[0]]
    return rows + stages


def _fluidsynth(midi: Path, soundfont: Path | None, runs: int, folder: Path) -> Run | None:
    if soundfont is None or not shutil.which("fluidsynth"):
        return None
    command = ["fluidsynth", "-ni", "-q", "-r", "44100", "-o", "synth.dynamic-sample-loading=1",
               "-F", str(folder / "theirs.wav"), str(soundfont), str(midi)]  # fmt: skip
    done = sorted((run(command) for _ in range(runs)), key=lambda r: r.wall_s)
    return done[len(done) // 2]


def main() -> None:
    def more(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--soundfont", type=Path, help="General MIDI SoundFont for the other side")
        parser.add_argument("--style", action="append", help="style (default: lofi-hip-hop, synth-pop)")

    args = arguments(__doc__, more)
    soundfont = args.soundfont or next((Path(p) for p in SOUNDFONTS if Path(p).exists()), None)
    durations, runs = ((15, 60), 1) if args.quick else ((15, 60, 180), 3)
    styles = args.style or (["lofi-hip-hop"] if args.quick else ["lofi-hip-hop", "synth-pop", "cinematic"])
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for style in styles:
            for duration in durations:
                rows += bench(duration, style, runs, soundfont, Path(folder))
    notes = ["One core each. Theirs: FluidSynth, same notes, notes to WAV only."]
    if soundfont is None or not shutil.which("fluidsynth"):
        notes = ["FluidSynth or a SoundFont is missing: apt-get install fluidsynth fluidr3mono-gm-soundfont"]
    else:
        notes.append(f"SoundFont: {soundfont}")
    show(rows, args.json, notes)


if __name__ == "__main__":
    main()
