"""MusicGen's decoding: our engine beside transformers' `generate` and OpenVINO, same sizes, random weights, one run.

The real musicgen-small shape (values do not change the speed), classifier-free guidance on, top-k 250, fp32 on a CPU,
bf16 on a GPU. Who takes part:

    transformers        its best setting: SDPA attention, inference mode, all requests in one batch, `num_beams` 1
    torch-float32       our engine on plain torch (on a GPU torch-bfloat16, and torch-int8 if asked for)
    openvino-int8 …     the same step as an OpenVINO model (`openvino_step.py`); where it is installed
    native-int8 …       our engine on the native kernels; where they are installed

All take turns, each `--repeat` times; medians are shown, each row as soon as it is there. A frame is a step of all
requests; 50 are a second of music, so that RTF is its time by 20 ms. "x floor" is a step's time by that of reading its
weights once (`bandwidth.py`); "outside" the share of the time not spent in the native call.

"arriving" rows: requests come at random times (Poisson) while others run. The engine takes each at the next frame;
transformers' `generate` can take none into a running batch, so it is given the better of two ways: one after
another, or all that wait as one batch whenever it is free.

    python bench/musicgen.py [--quick] [--json] [--size small|medium|large] [--requests 1,2,4,8,16]
    python bench/musicgen.py --precision float32,int8,int4            # a CPU: everybody (pip install openvino)
    python bench/musicgen.py --precision int8,int4 --only native,openvino --requests 1,4 --no-arriving
    python bench/musicgen.py --end-to-end 30 --precision int8,int4    # text to samples; writes 2.4 GB of random weights
    python bench/musicgen.py --device cuda --requests 1,8,32          # on a GPU
    python bench/musicgen.py --size tiny --trace 100                  # 100 requests of 2-30 s at random times
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from bandwidth import seconds_to_read
from musicgen_arriving import arriving, trace
from musicgen_end_to_end import end_to_end
from musicgen_models import SAMPLING, SHAPES, TEXT_TOKENS, our_decoder
from musicgen_sides import OpenVino, Ours, Side, Transformers
from openvino_step import missing
from report import Column, Growing, Row, arguments, lower_is_better, median
from tonewheel.engine import Engine, GenerationRequest
from tonewheel.engine.kernels import PlainKernels, best_kernels
from tonewheel.engine.kernels.choice import native_or_why
from tonewheel.engine.kernels.offer import Precision
from tonewheel.models.musicgen.decoder import MusicgenPrompt

COLUMNS = [
    Column("ms a frame", "ms", 1), Column("frames/s", "frames_per_s", 1), Column("RTF", "rtf", 2),
    Column("x transformers", "x_transformers", 2), Column("x OpenVINO", "x_openvino", 2),
    Column("x floor", "x_floor", 2), Column("outside", "outside", 3),
]  # fmt: skip


def more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", choices=SHAPES, default="small")
    parser.add_argument("--requests", default="1,2,4,8,16", help="how many at once, comma-separated")
    parser.add_argument("--precision", help="of ours and OpenVINO, comma-separated: float32, int8, int4")
    parser.add_argument("--only", default="", help="who takes part, comma-separated beginnings: native,openvino-int8")
    parser.add_argument("--skip", default="", help="who does not, likewise")
    parser.add_argument("--arriving", help="whose rows of requests that arrive; default native-float32, or else torch")
    parser.add_argument("--no-arriving", action="store_true", help="leave out all but the table of requests at once")
    parser.add_argument("--frames", type=int, help="frames of a request (50 are a second)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], help="of transformers and plain torch")
    parser.add_argument("--threads", type=int, help="of everybody")
    parser.add_argument("--repeat", type=int)
    parser.add_argument("--trace", type=int, metavar="N", help="only: N requests of 2-30 s at random times, 8 slots")
    parser.add_argument("--end-to-end", type=float, metavar="S", help="only: S seconds of music, text to samples")
    parser.add_argument("--folder", type=Path, help="where --end-to-end keeps its random checkpoint for the next time")


class Bench:
    """Everybody who takes part, loaded once."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.shape = SHAPES[args.size]
        self.device = torch.device(args.device)
        on_cpu = self.device.type == "cpu"
        self.dtype: torch.dtype = getattr(torch, args.dtype or ("float32" if on_cpu else "bfloat16"))
        self.frames: int = args.frames or (12 if args.quick else 50)
        self.repeat: int = args.repeat or (1 if args.quick else 3)
        self.quick: bool = args.quick
        self.missing: list[str] = []
        chosen: str = args.precision or ("float32" if on_cpu else "bfloat16")
        self.precisions = [known(name) for name in names(chosen)]
        self._only, self._skip = names(args.only), names(args.skip)
        if args.trace and not args.only:
            self._only = ["torch"]
        self.sides = list(self._sides())
        if not self.sides:
            why = "; ".join(self.missing) or "--only and --skip leave none (--help lists them)"
            raise SystemExit(f"nobody takes part: {why}")
        self.theirs = next((s for s in self.sides if isinstance(s, Transformers)), None)
        self.ours = [s for s in self.sides if isinstance(s, Ours)]

    def _sides(self) -> Iterator[Side]:
        shape, device, dtype = self.shape, self.device, self.dtype
        plain = str(dtype).removeprefix("torch.")
        if self._wanted("transformers"):
            yield Transformers(shape, device, dtype)
        if self._wanted(f"torch-{plain}"):
            yield Ours(shape, device, dtype, PlainKernels(known(plain)), "torch")
        if device.type != "cpu":
            for precision in self.precisions:
                if precision != plain and self._wanted(f"torch-{precision}"):
                    yield Ours(shape, device, dtype, best_kernels(device, precision), "torch")
            return
        for precision in self.precisions:  # OpenVINO in float32 too, where it is asked for by name
            named = f"openvino-{precision}"
            if (precision in ("int8", "int4") or named in self._only) and self._wanted(named):
                if why := missing():
                    self.missing.append(f"{named}: {why}")
                else:
                    yield OpenVino(shape, precision, torch.get_num_threads(), self.quick)
        found, why = native_or_why()
        for precision in self.precisions:
            if precision in ("float32", "int8", "int4") and self._wanted(f"native-{precision}"):
                if found:
                    yield Ours(shape, device, dtype, best_kernels(device, precision), "native")
                else:
                    self.missing.append(f"native-{precision}: the kernels are {why}")

    def _wanted(self, name: str) -> bool:
        wanted = (not self._only or name.startswith(tuple(self._only))) and not name.startswith(tuple(self._skip))
        if wanted:
            progress(f"loading {name}")
        return wanted


def names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def known(precision: str) -> Precision:
    one: Precision
    for one in ("float32", "bfloat16", "float16", "int8", "int4"):
        if one == precision:
            return one
    raise SystemExit(f"--precision: {precision} is not one of float32, bfloat16, float16, int8, int4")


def progress(text: str) -> None:
    print(f"  … {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


# ── rows ────────────────────────────────────────────────────────────────────────────────────────


def at_once(bench: Bench, count: int, table: Growing) -> None:
    """A block: `count` requests from the start, a row for everybody."""
    times: dict[str, list[float]] = {side.id: [] for side in bench.sides}
    shares: dict[str, list[float]] = {side.id: [] for side in bench.sides}
    for turn in range(bench.repeat):
        for side in bench.sides:
            side.warm(count, bench.frames)
            times[side.id].append(side.run(count, bench.frames) / (bench.frames + 3))
            if (share := side.outside()) is not None:
                shares[side.id].append(share)
            progress(f"{count} at once, turn {turn + 1}: {side.name} {1e3 * times[side.id][-1]:.1f} ms a frame")
    floors = {s.bytes: floor(bench, s.bytes) for s in bench.sides if s.bytes}
    step = {name: median(all_times) for name, all_times in times.items()}
    table.head(f"{count} request{'s' * (count > 1)} at once")
    for side in bench.sides:
        mine = step[side.id]
        theirs, openvino = step.get("transformers"), step.get(f"openvino-{side.precision}")
        table.side(
            f"{count} at once", side.name,
            {
                "ms": 1e3 * mine, "frames_per_s": count / mine, "rtf": 50 * mine,
                "x_transformers": theirs and theirs / mine,
                "x_openvino": openvino and openvino / mine,
                "x_floor": mine / floors[side.bytes] if side.bytes else None,
                "outside": median(shares[side.id]) if shares[side.id] else None,
            },
        )  # fmt: skip
        side.rest()
    for size, took in floors.items():
        table.side(
            f"{count} at once", f"reading {size / 1e6:,.0f} MB", {"ms": 1e3 * took, "gb_per_s": size / took / 1e9}
        )


def floor(bench: Bench, count: int) -> float:
    """Seconds to read so many bytes once, as fast as this machine does it now."""
    return seconds_to_read(count, torch.get_num_threads(), bench.device, 0.5 if bench.quick else 2.0)


def first_audio(bench: Bench) -> Iterator[Row]:
    """From submit until codes of the first second are there; theirs has them when all is done."""
    frames = max(bench.frames, 50)
    theirs = None if bench.theirs is None else bench.theirs.run(1, frames * 2)
    for side in bench.ours:
        times = []
        for _ in range(bench.repeat):
            side.warm(1, frames * 2)
            began = time.perf_counter()
            sequence = side.engine(1).submit(side.request(frames * 2, 0))
            sequence.wait(min(50, frames))
            times.append(time.perf_counter() - began)
            sequence.cancel()
        side.rest()
        yield lower_is_better(f"first second of {frames * 2 / 50:g} s, {side.name}", median(times), theirs, "s")


def python_share(bench: Bench, side: Ours) -> Row:
    """Time of a step that is not arithmetic: the same number of layers and calls on matrices of next to no size."""
    slim = replace(bench.shape, width=16, heads=1, vocabulary=16, text_width=16)
    with Engine(our_decoder(slim, bench.device, bench.dtype, side.kernels), 1) as engine:
        prompt = MusicgenPrompt(text=torch.randn(TEXT_TOKENS, 16, device=bench.device, dtype=bench.dtype))
        request = GenerationRequest(prompt, 60, SAMPLING)
        engine.submit(request).result()
        began = time.perf_counter()
        engine.submit(request).result()
        slim_step = (time.perf_counter() - began) / 63
    side.warm(1, bench.frames)
    whole = statistics.median(side.run(1, bench.frames) / (bench.frames + 3) for _ in range(bench.repeat))
    side.rest()
    return Row(f"not arithmetic, share of a step, {side.name}", round(slim_step / whole, 3), None, "", None)


def main() -> None:
    args = arguments(__doc__, more)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if args.end_to_end:
        precisions = names(args.precision or "int8")
        end_to_end(args.end_to_end, precisions, torch.get_num_threads(), args.json, args.size, args.folder)
        return
    table = Growing(COLUMNS, args.json)
    counts = [1, 4] if args.quick and args.requests == "1,2,4,8,16" else [int(n) for n in args.requests.split(",")]
    bench = Bench(args)
    for line in bench.missing:
        table.note(f"left out: {line}")
    if args.trace:
        table.rows(f"{bench.ours[0].name}, 8 slots")
        for row in trace(bench, args.trace):
            table.row(row)
        table.end([f"musicgen-{args.size}, {bench.dtype}, {bench.device}, 8 slots"])
        return
    for count in counts:
        at_once(bench, count, table)
    if not args.no_arriving and bench.ours:
        table.rows("against transformers")
        some = [s for s in bench.ours if s.id.startswith(tuple(names(args.arriving or "native-float32")))]
        for side in some or bench.ours[:1]:
            for count in counts:
                if count >= 4:
                    table.row(arriving(bench, side, count))
        for row in first_audio(bench):
            table.row(row)
        for side in bench.ours:
            if side.id.startswith("torch"):
                table.row(python_share(bench, side))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if bench.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**20
    table.end([*notes(bench, args.size), f"peak memory, all of them together: {peak:,.0f} MiB"])


def notes(bench: Bench, size: str) -> list[str]:
    told = [
        f"musicgen-{size}, {bench.dtype}, {bench.device}, torch {torch.__version__}, {torch.get_num_threads()} "
        f"threads, {bench.frames} frames a request, medians of {bench.repeat}"
    ]
    for side in bench.sides:
        if isinstance(side, Transformers):
            import transformers  # noqa: PLC0415

            told.append(f"transformers {transformers.__version__}, generate(), SDPA attention")
        elif isinstance(side, OpenVino):
            told.append(
                f"OpenVINO {side.version}: {side.settings}; unconditional rows skip cross-attention, as ours do; "
                f"logits of a small shape differ by {side.difference:.2g} from plain torch"
            )
        elif isinstance(side, Ours):
            told.append(f"{side.name}: {side.kernels.name}, {(side.bytes or 0) / 1e6:,.0f} MB of weights a step")
    return told + [f"left out: {line}" for line in bench.missing]


if __name__ == "__main__":
    main()
