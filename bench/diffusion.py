"""Diffusion: our models beside diffusers' bare pipelines, the same random weights, one run.

Rows: seconds of one request; steps per second; four equal requests at once beside four in turn (for both columns the
bare pipeline renders four in turn: it knows nothing of requests); peak memory. Sides take turns; medians are shown.

    python bench/diffusion.py [--quick] [--json] [--only audioldm2]     # --size small on a CPU, --size real on a GPU
    python bench/diffusion.py --size real --device cuda                 # 6 GB (AudioLDM 2) to 12 GB (ACE-Step XL)

`small` has the real number of layers at a fraction of the widths, so that a step takes a CPU a tenth of a second or
two; what is measured there is what we add to a step, not how quick a step is. A family is one entry of `FAMILIES`.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffusion_models import FAMILIES, Side
from report import Row, arguments, lower_is_better, median, show
from tonewheel.errors import RenderFault
from tonewheel.models.base import ModelRequest, RunContext
from tonewheel.models.diffusion.model import _quiet
from tonewheel.models.diffusion.place import Place
from tonewheel.settings import settings

AT_ONCE = 4


def more(parser: argparse.ArgumentParser) -> None:
    cuda = torch.cuda.is_available()
    parser.add_argument("--size", choices=("small", "real"), default="real" if cuda else "small")
    parser.add_argument("--device", default="cuda" if cuda else "cpu")
    parser.add_argument("--only", help=f"of {', '.join(FAMILIES)}, comma-separated")
    parser.add_argument("--steps", type=int, help="of a request (default: 10 on a CPU, as the family has it on a GPU)")
    parser.add_argument("--repeat", type=int)
    parser.add_argument("--threads", type=int, help="of torch, for both sides")


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds, seconds of processors, and bytes at the peak."""

    seconds: float
    work: float
    peak: float


class Bench:
    """One family: its pipeline, by itself and in our hands."""

    def __init__(self, name: str, side: Side, args: argparse.Namespace) -> None:
        self.name, self.side = name, side
        self.device = torch.device(args.device)
        self.steps: int = args.steps or (side.steps if self.device.type == "cuda" else 10)
        self.seconds = side.seconds if args.size == "real" else side.small_seconds
        self.repeat: int = args.repeat or (1 if args.quick else 3)
        dtype = side.half if self.device.type == "cuda" else torch.float32
        torch.manual_seed(1)
        pipeline = side.pipeline(args.size, self.device, dtype)
        self.bare = type(pipeline)(**pipeline.components)  # the same weights in a pipeline that we never touch
        self.bare.set_progress_bar_config(disable=True)
        self.model = side.model()
        self.model.place = Place(self.device, dtype)
        self.model.take(pipeline, RunContext())
        self.faults: set[str] = set()

    def close(self) -> None:
        self.model.release()
        del self.bare, self.model
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    # ── the sides ──

    def request(self, seed: int, steps: int) -> ModelRequest:
        return self.side.request(steps, self.seconds, seed)

    def ours(self, seed: int, steps: int) -> None:
        """One request, checked and cut as always. Random weights may make no sound: that is told after all work."""
        try:
            self.model.run(self.request(seed, steps), RunContext())
        except RenderFault as fault:
            self.faults.add(str(fault))

    def ours_at_once(self, steps: int) -> None:
        threads = [threading.Thread(target=self.ours, args=(n, steps)) for n in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def in_turn(self, side: Callable[[int, int], None]) -> None:
        for number in range(AT_ONCE):
            side(number, self.steps)

    def theirs(self, seed: int, steps: int) -> None:
        """By hand, as diffusers has it."""
        with torch.no_grad():
            audio = self.side.bare(self.bare, steps, self.seconds, torch.Generator("cpu").manual_seed(seed))
        _ = audio.float().cpu() if isinstance(audio, torch.Tensor) else audio

    # ── the rows ──

    def rows(self) -> list[Row]:
        few = max(2, self.steps // 4)
        calls: dict[str, Callable[[], None]] = {
            "ours": lambda: self.ours(0, self.steps),
            "theirs": lambda: self.theirs(0, self.steps),
            "ours, few": lambda: self.ours(0, few),
            "theirs, few": lambda: self.theirs(0, few),
            "ours at once": lambda: self.ours_at_once(self.steps),
            "ours in turn": lambda: self.in_turn(self.ours),
            "theirs in turn": lambda: self.in_turn(self.theirs),
        }
        with _without_hooks(self.bare):
            self.theirs(0, few)  # what is prepared at the first call is nobody's
        self.ours(0, few)
        taken: dict[str, list[Measured]] = {name: [] for name in calls}
        for _ in range(self.repeat):
            for name, call in calls.items():
                with _without_hooks(self.bare) if name.startswith("theirs") else nullcontext():
                    taken[name].append(measured(call, self.device))
        seconds = {name: median([m.seconds for m in all_]) for name, all_ in taken.items()}
        peak = {name: max(m.peak for m in all_) / 1e9 for name, all_ in taken.items()}
        # Of a difference the quickest of each, which other programs disturbed least.
        least = {name: min(m.seconds for m in all_) for name, all_ in taken.items()}
        ours, theirs = (
            (self.steps - few) / max(1e-9, least[side] - least[f"{side}, few"]) for side in ("ours", "theirs")
        )
        made, several = f"{self.name}, {self.seconds:g} s, {self.steps} steps", f"{self.name}: {AT_ONCE} at once"
        at_once = seconds["ours at once"]
        return [
            lower_is_better(f"{made}: one request", seconds["ours"], seconds["theirs"], "s"),
            Row(f"{self.name}: steps a second", round(ours, 3), round(theirs, 3), "1/s", round(ours / theirs, 3)),
            lower_is_better(f"{several}, theirs in turn", at_once, seconds["theirs in turn"], "s"),
            lower_is_better(f"{several}, ours in turn", at_once, seconds["ours in turn"], "s"),
            *self.of_processors({name: median([m.work for m in all_]) for name, all_ in taken.items()}),
            lower_is_better(f"{self.name}: peak of one request", peak["ours"], peak["theirs"], "GB"),
            lower_is_better(f"{several}: peak", peak["ours at once"], peak["theirs in turn"], "GB"),
        ]

    def of_processors(self, work: dict[str, float]) -> list[Row]:
        """On a CPU: seconds of its own, which other programs on the machine do not lengthen much."""
        if self.device.type != "cpu":
            return []
        what = f"{self.name}: processor time"
        return [
            lower_is_better(f"{what}, one request", work["ours"], work["theirs"], "s"),
            lower_is_better(
                f"{what}, {AT_ONCE} at once, ours in turn", work["ours at once"], work["ours in turn"], "s"
            ),
        ]

    def note(self, rows: list[Row]) -> list[str]:
        one = rows[0]
        assert one.theirs is not None
        found = f"{self.name}: one request costs {100 * (one.ours / one.theirs - 1):+.1f} % beside the bare pipeline"
        return [found, *(f"{self.name}: random weights made no sound ({fault})" for fault in sorted(self.faults))]


@contextmanager
def _without_hooks(pipeline: Any) -> Iterator[None]:
    """Our hooks sit on the modules that both sides share: the bare pipeline runs without them."""
    modules = [m for part in pipeline.components.values() if isinstance(part, torch.nn.Module) for m in part.modules()]
    kinds: list[dict[int, Any]] = [kind for m in modules for kind in (m._forward_pre_hooks, m._forward_hooks)]
    kept = [(kind, dict(kind)) for kind in kinds if any(map(_ours, kind.values()))]
    for kind, before in kept:
        for key in [key for key, hook in before.items() if _ours(hook)]:
            del kind[key]
    try:
        yield
    finally:
        for kind, before in kept:
            kind.update(before)


def _ours(hook: object) -> bool:
    return type(getattr(hook, "__self__", None)).__module__.startswith("tonewheel.")


def measured(call: Callable[[], None], device: torch.device) -> Measured:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    else:
        _forget_peak()
    began, worked = time.perf_counter(), time.process_time()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    seconds, work = time.perf_counter() - began, time.process_time() - worked
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else _resident_peak()
    return Measured(seconds, work, float(peak))


def _forget_peak() -> None:
    """Linux: the peak of resident memory begins anew."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _resident_peak() -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def main() -> None:
    args = arguments(__doc__, more)
    names = list(FAMILIES) if args.only is None else args.only.split(",")
    if strange := [name for name in names if name not in FAMILIES]:
        sys.exit(f"unknown: {', '.join(strange)}; known: {', '.join(FAMILIES)}")
    if args.size == "real" and not args.device.startswith("cuda"):
        print("real sizes on a CPU take hours and 8 to 24 GB of memory: this is meant for a GPU", file=sys.stderr)
    if args.threads:
        torch.set_num_threads(args.threads)
    _quiet()
    rows: list[Row] = []
    notes = [f"torch {torch.__version__}, {args.device}, {args.size} sizes, random weights"]
    with tempfile.TemporaryDirectory() as data:
        _elsewhere(data)
        for name in names:
            bench = Bench(name, FAMILIES[name], args)
            found = bench.rows()
            rows += found
            notes += bench.note(found)
            bench.close()
    show(rows, args.json, notes)


def _elsewhere(data: str) -> None:
    """What random weights take must not become the clock of real ones."""
    os.environ["TONEWHEEL_DATA_DIR"] = data
    settings.cache_clear()


if __name__ == "__main__":
    main()
