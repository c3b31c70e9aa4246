"""HeartMuLa's codes: our engine beside heartlib's own loop, the same sizes, random weights, one run.

Real numbers of layers (28 and 3), all eight codebooks of 8197 ids, guidance on (two rows a song), top-k 50; widths are
reduced so that it fits a CPU: `--size wide` to three eighths, where reading the weights is what a song takes, as with
the real ones; `--size narrow` to an eighth, all of which a large cache holds. `--size real` needs 17 GB in bfloat16 and
is meant for a GPU. Measured are frames once all songs are under way, prompts left out, for both sides. heartlib can do
one song at a time, in float32 on a CPU, so that its rows for several are those of one after another. Sides take turns;
medians are shown.

    python bench/heartmula.py [--quick] [--json] [--songs 1,4,8] [--precision float32,int8,int4]
    python bench/heartmula.py --heartlib VENV/bin/python:HEARTLIB/src    # beside it; docs/heartmula.md has the pins
    python bench/heartmula.py --size real --device cuda --heartlib …
    python bench/heartmula.py --songs 1,8 --position 2060                # frames in the third minute of a song
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
from tonewheel.models.heartmula.language import CODES, HeartmulaLanguage, HeartmulaPrompt, LanguageShape
from tonewheel.models.heartmula.tensors import of_language

SIZES = {
    "wide": (
        TransformerShape(28, 9, 3, 128, 1152, 3072, 8192), TransformerShape(3, 8, 4, 144, 1152, 3072, 2048), 4096,
    ),
    "narrow": (TransformerShape(28, 12, 4, 32, 384, 1024, 8192), TransformerShape(3, 8, 4, 48, 384, 1024, 2048), 4096),
    "real": (FLAVORS["llama-3B"], FLAVORS["llama-300M"], 128_256),
}  # fmt: skip
PROMPT = 60  # positions
_FILLED = 64  # positions of a prompt that are filled between two frames on a CPU (tonewheel.engine.engine)
_WARM = 3  # frames of every song that are not counted
_STARTING = 4  # frames an earlier song is ahead, at most, for every one that starts after it
_WAIT_S = 600.0
_THEIR_FRAMES = 20  # theirs take long, and as long each


def more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", choices=SIZES, default="wide")
    parser.add_argument("--songs", default="1,4,8", help="how many at once, comma-separated")
    parser.add_argument("--frames", type=int, help="of a song (12.5 are a second)")
    parser.add_argument(
        "--position", type=int, default=PROMPT,
        help="where frames are measured: behind a prompt of so many positions, as in the middle of a long song",
    )  # fmt: skip
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", help=f"of our weights, of {', '.join(precisions())}; absent: as a service's")
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
        self.frames: int = args.frames or (10 if args.quick else 50)
        self.repeat: int = args.repeat or (1 if args.quick else 3)
        self.position: int = args.position
        self.heartlib: str | None = args.heartlib
        chosen = args.precision.split(",") if args.precision else [None]
        if unknown := [name for name in chosen if name is not None and name not in precisions()]:
            raise SystemExit(f"--precision: {unknown[0]} is none of {', '.join(precisions())}")
        self.kernels = [best_kernels(self.device, name) for name in chosen]
        with torch.inference_mode():
            self.languages = [
                HeartmulaLanguage(self.shape, self.weights, device=self.device, dtype=self.dtype, kernels=kernels)
                for kernels in self.kernels
            ]

    def weights(self, name: str) -> torch.Tensor:
        shape = of_language(self.shape)[name]
        if name.endswith("scale"):
            return torch.ones(shape, device=self.device, dtype=self.dtype)
        tensor = torch.randn(shape, device=self.device, dtype=self.dtype) * 0.02
        if name == "codebook0_head.weight":
            tensor[CODES:] = 0  # far from the fifty likeliest: no song ends by itself
        if name == "audio_head":
            tensor[:, :, CODES:] = 0
        return tensor

    def ours(self, language: HeartmulaLanguage, songs: int) -> float:
        """Seconds a frame of all of `songs`."""
        with Engine(language, songs) as engine:
            longest = _WARM + self.frames + songs * (_STARTING + self.position // _FILLED)
            running = [engine.submit(self.request(longest, n)) for n in range(songs)]
            for sequence in running:
                sequence.wait(_WARM, _WAIT_S)
            before, began = sum(s.ready for s in running), time.perf_counter()
            running[-1].wait(_WARM + self.frames, _WAIT_S)
            made, took = sum(s.ready for s in running) - before, time.perf_counter() - began
            if any(s.ended for s in running[1:]):
                raise SystemExit("a song ended before it was measured")
            for sequence in running:
                sequence.cancel()
        return took * songs / made

    def request(self, frames: int, seed: int) -> GenerationRequest:
        ids = torch.arange(self.position // 2)
        sampling = Sampling(top_k=50, guidance_scale=1.5, seed=seed)
        return GenerationRequest(HeartmulaPrompt(ids, ids[:-1]), frames, sampling)

    def theirs(self) -> float | None:
        """Seconds a frame of one song, in a process of its own."""
        if self.heartlib is None:
            return None
        python, _, source = self.heartlib.partition(":")
        asked = {
            "source": source, "backbone": asdict(self.shape.backbone), "decoder": asdict(self.shape.local),
            "words": self.shape.text_vocabulary, "frames": min(self.frames, _THEIR_FRAMES), "prompt": self.position,
            "device": str(self.device), "dtype": str(self.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
        }  # fmt: skip
        program = Path(__file__).with_name("heartlib_loop.py")
        ran = subprocess.run([python, program, json.dumps(asked)], capture_output=True, text=True, check=False)
        if ran.returncode:
            raise SystemExit(f"heartlib did not run:\n{ran.stderr[-2000:]}")
        return float(ran.stdout.splitlines()[-1])


def rows(bench: Bench, songs: list[int]) -> tuple[list[Row], list[str]]:
    """And lines on what several songs at once gain."""
    kinds = list(zip(bench.kernels, bench.languages, strict=True))
    ours: dict[tuple[int, int], list[float]] = {}
    theirs: list[float] = []
    for _ in range(bench.repeat):
        for n, (_, language) in enumerate(kinds):
            for count in songs:
                ours.setdefault((n, count), []).append(bench.ours(language, count))
        if (took := bench.theirs()) is not None:
            theirs.append(took)
    made, notes = [], []
    for n, (kernels, _) in enumerate(kinds):
        took_ms = [1e3 * median(ours[n, count]) for count in songs]
        for count, ms in zip(songs, took_ms, strict=True):
            other = 1e3 * count * median(theirs) if theirs else None
            made.append(lower_is_better(f"{kernels.precision}, {count} at once, a frame of all", ms, other, "ms"))
        rates = ", ".join(f"{count}: {1e3 * count / ms:.1f}" for count, ms in zip(songs, took_ms, strict=True))
        gain = ", ".join(
            f"{count}: {took_ms[0] / songs[0] * count / ms:.2f}" for count, ms in zip(songs, took_ms, strict=True)
        )
        notes.append(f"{kernels.name}, {kernels.precision}: frames/s of all songs {rates}; times one song's {gain}")
    return made, notes


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
    made, notes = rows(bench, [int(n) for n in args.songs.split(",")])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if bench.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(bench.device)
    show(
        made,
        args.json,
        [
            f"{args.size}, {torch.get_num_threads()} threads; peak memory of this process: {peak / 1e6:.0f} MB",
            *notes,
        ],
    )


if __name__ == "__main__":
    main()
