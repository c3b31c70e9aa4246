"""Layers that see many rows at once in float32: ours by tiles of bfloat16 beside torch's, at the sizes of real models.

    python bench/many_rows.py [--quick] [--json] [--threads N]

`error`: the largest difference from exact sums, of the largest value; torch's float32 has some 1e-6 of its own.
Needs a processor with AMX and `pip install ./kernels`.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import time
from collections.abc import Callable
from functools import partial

import report

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as every model process has it (tonewheel.threads)

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from tonewheel.engine.kernels import quick_feed, quick_linear

SHAPES = (  # rows, inputs, outputs
    ("CLAP, stage 1, two windows", 8192, 96, 288),
    ("CLAP, stage 3", 512, 384, 1152),
    ("CLAP, stage 4", 128, 768, 2304),
    ("HeartCodec, narrow block", 1488, 1536, 4608),
    ("HeartCodec, wide block, up", 1488, 3072, 16384),
    ("HeartCodec, wide block, down", 1488, 8192, 3072),
)
FEEDS = (("CLAP, stage 1, both layers and GELU", 8192, 96, 384), ("CLAP, stage 3, the same", 512, 384, 1536))


def in_turns(sides: tuple[Callable[[], Tensor], ...], seconds: float) -> list[float]:
    """The median time of each side, ms; they take turns, at least three each."""
    times: list[list[float]] = [[] for _ in sides]
    until = time.perf_counter() + seconds
    for turn in itertools.count():
        for side, taken in zip(sides, times, strict=True):
            began = time.perf_counter()
            side()
            taken.append(1000 * (time.perf_counter() - began))
        if turn >= 3 and time.perf_counter() > until:
            return [statistics.median(taken[1:]) for taken in times]
    raise AssertionError


def both(up: nn.Module, down: nn.Module, x: Tensor) -> Tensor:
    made: Tensor = down(gelu(up(x)))
    return made


def off(found: Tensor, exact: Tensor) -> str:
    return f"{float((found - exact).abs().max() / exact.abs().max()):.0e}"


def main() -> None:
    def more(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--threads", type=int, default=torch.get_num_threads())

    given = report.arguments(__doc__, more)
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    seconds, rows, notes = (0.3 if given.quick else 3.0), [], [f"threads: {given.threads}"]
    with torch.inference_mode():
        for name, count, inputs, outputs in SHAPES:
            layer, x = nn.Linear(inputs, outputs), torch.randn(count, inputs)
            quick = quick_linear(layer)
            if quick is layer:
                raise SystemExit("nothing to compare: no native kernels, or this processor has no tiles of bfloat16")
            ours, theirs = in_turns((partial(quick, x), partial(layer, x)), seconds)
            rows.append(report.lower_is_better(f"{name}: {count} x {inputs} x {outputs}", ours, theirs, "ms"))
            found, exact = quick(x), layer.double()(x.double())
            notes.append(f"{name}: error {off(found, exact)}, torch {off(layer.float()(x), exact)}")
        for name, count, inputs, inner in FEEDS:
            up, down, x = nn.Linear(inputs, inner), nn.Linear(inner, inputs), torch.randn(count, inputs)
            feed = quick_feed(up, "gelu", down)
            assert feed is not None
            ours, theirs = in_turns((partial(feed, x), partial(both, up, down, x)), seconds)
            rows.append(report.lower_is_better(f"{name}: {count} x {inputs} x {inner}", ours, theirs, "ms"))
    report.show(rows, given.json, notes)


if __name__ == "__main__":
    main()
