"""HeartMuLa's codes: our engine beside heartlib's own loop, the same sizes, random weights, one run.

Real numbers of layers (28 and 3), all eight codebooks of 8197 ids, guidance on (two rows a song), top-k 50. Widths are
reduced so that it fits a CPU (`--size narrow`); `--size real` needs 17 GB in bfloat16 and is meant for a GPU. heartlib
can do one song at a time, so its rows for several are those of one after another. Sides take turns; medians are shown.

    python bench/heartmula.py [--quick] [--json] [--songs 1,4,8]
    python bench/heartmula.py --heartlib VENV/bin/python:HEARTLIB/src    # beside it; docs/heartmula.md has the pins
    python bench/heartmula.py --size real --device cuda --heartlib …
    python bench/heartmula.py --memory [--lengths 10,30,60,120,240]      # predicted beside measured memory
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch

from report import Row, arguments, lower_is_better, median, show
from tonewheel.engine import Engine, GenerationRequest, Sampling
from tonewheel.engine.kernels import best_kernels, precisions
from tonewheel.models.heartmula.flavors import FLAVORS, TransformerShape
from tonewheel.models.heartmula.language import HeartmulaLanguage, HeartmulaPrompt, LanguageShape
from tonewheel.models.heartmula.tensors import of_language

SIZES = {
    "narrow": (TransformerShape(28, 12, 4, 32, 384, 1024, 8192), TransformerShape(3, 8, 4, 48, 384, 1024, 2048), 4096),
    "real": (FLAVORS["llama-3B"], FLAVORS["llama-300M"], 128_256),
}
PROMPT = 60  # positions


def more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", choices=SIZES, default="narrow")
    parser.add_argument("--songs", default="1,4,8", help="how many at once, comma-separated")
    parser.add_argument("--frames", type=int, help="of a song (12.5 are a second)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=precisions(), help="of our weights; absent: as a service would choose")
    parser.add_argument("--threads", type=int, help="of torch, for both sides")
    parser.add_argument("--repeat", type=int)
    parser.add_argument("--memory", action="store_true", help="compare the card's memory function with what is taken")
    parser.add_argument("--lengths", default="10,30,60,120,240", help="seconds, for --memory")
    parser.add_argument("--heartlib", metavar="PYTHON:SRC", help="a Python that has heartlib's needs, and its source")


class Bench:
    def __init__(self, args: argparse.Namespace) -> None:
        backbone, local, words = SIZES[args.size]
        self.shape = LanguageShape(backbone, local, text_vocabulary=words)
        self.device = torch.device(args.device)
        self.dtype = torch.float32 if self.device.type == "cpu" else torch.bfloat16
        self.kernels = best_kernels(self.device, args.precision)
        self.frames: int = args.frames or (10 if args.quick else 50)
        self.repeat: int = args.repeat or (1 if args.quick else 3)
        self.heartlib: str | None = args.heartlib
        shapes = of_language(self.shape)

        def weights(name: str) -> torch.Tensor:
            if name.endswith("scale"):
                return torch.ones(shapes[name], device=self.device, dtype=self.dtype)
            return torch.randn(shapes[name], device=self.device, dtype=self.dtype) * 0.02

        with torch.inference_mode():
            self.language = HeartmulaLanguage(
                self.shape, weights, device=self.device, dtype=self.dtype, kernels=self.kernels
            )

    def ours(self, songs: int) -> float:
        """Seconds a frame of all of `songs`, prompts included."""
        with Engine(self.language, songs) as engine:
            for frames in (3, self.frames):  # the first warms up: buffers, captured graphs
                began = time.perf_counter()
                running = [engine.submit(self.request(frames, n)) for n in range(songs)]
                for sequence in running:
                    sequence.result()
        return (time.perf_counter() - began) / self.frames

    def request(self, frames: int, seed: int) -> GenerationRequest:
        ids = torch.arange(PROMPT // 2)
        sampling = Sampling(top_k=50, guidance_scale=1.5, seed=seed)
        return GenerationRequest(HeartmulaPrompt(ids, ids[:-1]), frames, sampling)

    def theirs(self) -> float | None:
        """Seconds a frame of one song, prompt included, in a process of its own."""
        if self.heartlib is None:
            return None
        python, _, source = self.heartlib.partition(":")
        asked = {
            "source": source, "backbone": asdict(self.shape.backbone), "decoder": asdict(self.shape.local),
            "words": self.shape.text_vocabulary, "frames": self.frames, "prompt": PROMPT, "device": str(self.device),
            "dtype": str(self.dtype).removeprefix("torch."), "threads": torch.get_num_threads(),
        }  # fmt: skip
        program = Path(__file__).with_name("heartlib_loop.py")
        ran = subprocess.run([python, program, json.dumps(asked)], capture_output=True, text=True, check=False)
        if ran.returncode:
            raise SystemExit(f"heartlib did not run:\n{ran.stderr[-2000:]}")
        return float(ran.stdout.splitlines()[-1])


def rows(bench: Bench, songs: list[int]) -> list[Row]:
    ours: dict[int, list[float]] = {count: [] for count in songs}
    theirs: list[float] = []
    for _ in range(bench.repeat):
        for count in songs:
            ours[count].append(bench.ours(count))
        if (took := bench.theirs()) is not None:
            theirs.append(took)
    made = []
    for count in songs:
        other = 1e3 * count * median(theirs) if theirs else None
        made.append(lower_is_better(f"{count} at once, a frame of all", 1e3 * median(ours[count]), other, "ms"))
    return made


def main() -> None:
    args = arguments(__doc__, more)
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.memory:
        import heartmula_memory  # noqa: PLC0415

        lengths = [float(s) for s in ("10,30" if args.quick else args.lengths).split(",")]
        show(
            heartmula_memory.rows(lengths),
            args.json,
            ["ours: measured; theirs: predicted; ratio: predicted / measured"],
        )
        return
    bench = Bench(args)
    songs = [int(n) for n in args.songs.split(",")]
    made = rows(bench, songs)
    alone = made[0].ours / songs[0]
    rates = ", ".join(f"{n}: {1e3 * n / row.ours:.1f}" for n, row in zip(songs, made, strict=True))
    gain = ", ".join(f"{n}: {alone * n / row.ours:.2f}" for n, row in zip(songs, made, strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if bench.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(bench.device)
    show(
        made,
        args.json,
        [
            f"{args.size}, {bench.kernels.name}, {bench.kernels.precision}, {torch.get_num_threads()} threads",
            f"peak memory of this process: {peak / 1e6:.0f} MB",
            f"frames/s, all songs together: {rates}",
            f"times the throughput of one: {gain}",
        ],
    )


if __name__ == "__main__":
    main()
