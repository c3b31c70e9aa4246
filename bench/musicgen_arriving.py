"""Requests that come while others run: what `musicgen.py` shows of them."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil

from musicgen_models import SAMPLING
from musicgen_sides import Ours
from report import Row, median
from tonewheel.engine import Engine
from tonewheel.errors import Cancelled

if TYPE_CHECKING:
    from musicgen import Bench


def arriving(bench: Bench, side: Ours, count: int) -> Row:
    """Frames a second from the first arrival to the last frame."""
    dice = random.Random(count)
    side.warm(1, bench.frames)
    alone = side.run(1, bench.frames)
    gaps = [0.0, *(dice.expovariate(2 / alone) for _ in range(count - 1))]  # on average two come while one is made
    lengths = [dice.randint(bench.frames // 2, bench.frames * 3 // 2) for _ in range(count)]
    total = sum(lengths)
    ways = [False, True]  # transformers: one by one, all that wait together

    def ours() -> float:
        side.warm(count, max(lengths))
        engine = side.engine(count)
        began = time.perf_counter()
        running = []
        for n, (gap, frames) in enumerate(zip(gaps, lengths, strict=True)):
            time.sleep(gap)
            running.append(engine.submit(side.request(frames, n)))
        for sequence in running:
            sequence.result()
        return time.perf_counter() - began

    def theirs() -> float:
        times = {together: queued(bench, gaps, lengths, together) for together in ways}
        ways[:] = [min(times, key=lambda way: times[way])]  # which is better is known after the first turn
        return min(times.values())

    our_time, their_time = taking_turns(bench, ours, theirs)
    side.rest()
    name = f"{count} arriving, {side.name}"
    return higher_is_better(name, total / our_time, their_time and total / their_time, "frames/s")


def queued(bench: Bench, gaps: list[float], lengths: list[int], together: bool) -> float:
    """Seconds for requests that wait for `generate` to be free: one by one, or all that wait as one batch (padded to
    the longest)."""
    waiting: list[int] = []
    came = threading.Condition()

    def arrive() -> None:
        for gap, frames in zip(gaps, lengths, strict=True):
            time.sleep(gap)
            with came:
                waiting.append(frames)
                came.notify()

    assert bench.theirs is not None
    began = time.perf_counter()
    threading.Thread(target=arrive, daemon=True).start()
    served = 0
    while served < len(lengths):
        with came:
            came.wait_for(lambda: bool(waiting))
            batch, waiting[:] = (waiting[:], []) if together else (waiting[:1], waiting[1:])
        bench.theirs.run(len(batch), max(batch))
        served += len(batch)
    return time.perf_counter() - began


def trace(bench: Bench, count: int) -> list[Row]:
    """Random arrivals, lengths and settings; a tenth is cancelled on its way. Fails when a length is not exact."""
    dice = random.Random(1)
    side = bench.ours[0]
    engine = Engine(side.decoder, 8)
    warm = engine.submit(side.request(1500, 0))  # the longest: the cache has its size
    warm.result()
    step_s = (time.monotonic() - warm.submitted_at) / 1503
    before, peak, freed = psutil.Process().memory_info().rss, 0, []
    running = []
    for n in range(count):
        time.sleep(dice.expovariate(1 / (step_s * 800 / 7)))  # about seven at work on average
        settings = replace(SAMPLING, seed=n, top_k=dice.choice([0, 50, 250]), top_p=dice.choice([0.9, 1.0]),
                           guidance_scale=dice.choice([1.0, 3.0, 15.0]))  # fmt: skip
        request = replace(side.request(50 * dice.randint(2, 30), n), sampling=settings)
        running.append(engine.submit(request))
        if dice.random() < 0.1:
            running[-1].wait(20)
            held = engine.counts().running
            began = time.monotonic()
            running[-1].cancel()
            while engine.counts().running >= held and not running[-1].ended:
                time.sleep(0.0005)
            freed.append((time.monotonic() - began) / step_s)
        peak = max(peak, psutil.Process().memory_info().rss)
    waits = []
    for sequence in running:
        with contextlib.suppress(Cancelled):
            codes = sequence.result()
            if codes.shape != (bench.shape.codebooks, sequence.request.frames):
                raise SystemExit(f"a request of {sequence.request.frames} frames got codes {tuple(codes.shape)}")
        if sequence.admitted_at is not None:
            waits.append(sequence.admitted_at - sequence.submitted_at)
    left = engine.counts()
    engine.close()
    return [
        Row("requests that ended exact in length", len(running) - len(freed), None, "", None),
        Row("cancelled, slot free after", round(max(freed, default=0.0), 1), None, "steps", None),
        Row("worst wait for a slot", round(max(waits), 2), None, "s", None),
        Row("median wait for a slot", round(median(waits), 3), None, "s", None),
        Row("memory above that of one request of 30 s", round((peak - before) / 2**20), None, "MiB", None),
        Row("left running or waiting", left.running + left.waiting, None, "", None),
    ]


def taking_turns(bench: Bench, ours: Callable[[], float], theirs: Callable[[], float]) -> tuple[float, float | None]:
    """Medians of both, run alternately."""
    mine, others = [], []
    for _ in range(bench.repeat):
        mine.append(ours())
        if bench.theirs is not None:
            others.append(theirs())
    return median(mine), median(others) if others else None


def higher_is_better(name: str, ours: float, theirs: float | None, unit: str) -> Row:
    return Row(name, round(ours, 2), theirs and round(theirs, 2), unit, round(ours / theirs, 2) if theirs else None)
