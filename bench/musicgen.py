"""MusicGen's decoding: our engine beside transformers' `generate`, same sizes, same weights' shapes, one run.

Random weights of the real musicgen-small shape (values do not change the speed), classifier-free guidance on,
top-k 250, fp32 on a CPU, bf16 on a GPU. transformers has its best setting: SDPA attention, inference mode, all
requests of a row in one batch, `num_beams` 1; a GPU also gets its static cache if it takes it. Both sides take
turns, each `--repeat` times; medians are shown.

"arriving" rows: requests come at random times (Poisson) while others run. The engine takes each at the next frame;
transformers' `generate` can take none into a running batch, so it is given the better of two ways: one after
another, or all that wait as one batch whenever it is free.

    python bench/musicgen.py [--quick] [--json] [--size small|medium|large] [--requests 1,2,4,8,16]
    python bench/musicgen.py --device cuda --requests 1,8,32          # on a GPU
    python bench/musicgen.py --size tiny --trace 100                  # 100 requests of 2-30 s at random times
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import random
import resource
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psutil
import torch

from report import Row, arguments, lower_is_better, median, show
from tonewheel.engine import Engine, GenerationRequest, Sampling
from tonewheel.errors import Cancelled
from tonewheel.models.musicgen.decoder import DecoderShape, MusicgenDecoder, MusicgenPrompt

SHAPES = {
    "small": DecoderShape(24, 1024, 16, 2048, 4, 1, "gelu", 768, 2048),
    "medium": DecoderShape(48, 1536, 24, 2048, 4, 1, "gelu", 768, 2048),
    "large": DecoderShape(48, 2048, 32, 2048, 4, 1, "gelu", 768, 2048),
    "tiny": DecoderShape(2, 64, 4, 256, 4, 1, "gelu", 32, 2048),  # to try the program out
}
TEXT_TOKENS = 16
SAMPLING = Sampling(guidance_scale=3.0, top_k=250)


def more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", choices=SHAPES, default="small")
    parser.add_argument("--requests", default="1,2,4,8,16", help="how many at once, comma-separated")
    parser.add_argument("--frames", type=int, help="frames of a request (50 are a second)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--threads", type=int, help="of torch, for both sides")
    parser.add_argument("--repeat", type=int)
    parser.add_argument("--trace", type=int, metavar="N", help="only: N requests of 2-30 s at random times, 8 slots")
    parser.add_argument("--only-ours", action="store_true", help="leave transformers out")


class Bench:
    """Both models, loaded once."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.shape = SHAPES[args.size]
        self.device = torch.device(args.device)
        kind = args.dtype or ("float32" if self.device.type == "cpu" else "bfloat16")
        self.dtype: torch.dtype = getattr(torch, kind)
        self.frames: int = args.frames or (12 if args.quick else 50)
        self.repeat: int = args.repeat or (1 if args.quick else 3)
        self.ours = our_decoder(self.shape, self.device, self.dtype)
        self.theirs = None if args.only_ours or args.trace else their_model(self.shape, self.device, self.dtype)
        self.text = torch.randn(TEXT_TOKENS, self.shape.text_width, device=self.device, dtype=self.dtype)
        self.engines: dict[int, Engine] = {}

    def engine(self, slots: int) -> Engine:
        """One at a time, of as many slots as requests."""
        if slots not in self.engines:
            for old in self.engines.values():
                old.close()
            self.engines = {slots: Engine(self.ours, slots)}
            self.run_ours(slots, 3)  # warm: buffers, captured graphs
        return self.engines[slots]

    def request(self, frames: int, seed: int) -> GenerationRequest:
        return GenerationRequest(MusicgenPrompt(text=self.text), frames, replace(SAMPLING, seed=seed))

    def run_ours(self, count: int, frames: int) -> float:
        """Seconds for `count` requests at once."""
        engine = self.engine(count)
        began = time.perf_counter()
        running = [engine.submit(self.request(frames, n)) for n in range(count)]
        for sequence in running:
            sequence.result()
        return time.perf_counter() - began

    def run_theirs(self, count: int, frames: int) -> float:
        """Seconds of one `generate` over a batch of `count` (with a text encoder of one layer: next to nothing)."""
        assert self.theirs is not None
        ones = torch.ones(count, TEXT_TOKENS, dtype=torch.int64, device=self.device)
        began = time.perf_counter()
        with torch.inference_mode():
            self.theirs.generate(
                input_ids=ones + 1, attention_mask=ones, do_sample=True, top_k=SAMPLING.top_k, guidance_scale=3.0,
                max_new_tokens=frames + 3,
            )  # fmt: skip
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began


def our_decoder(shape: DecoderShape, device: torch.device, dtype: torch.dtype) -> MusicgenDecoder:
    """Our decoder with random weights."""
    w, v, f = shape.width, shape.vocabulary, 4 * shape.width
    sizes = {
        "embed_tokens": (v + 1, w),
        "lm_heads": (v, w),
        "fc1": (f, w),
        "fc2": (w, f),
        "enc_to_dec": (w, shape.text_width),
    }

    def weights(name: str) -> torch.Tensor:
        if name.endswith("bias"):
            return torch.zeros(w, device=device, dtype=dtype)
        if "norm" in name:
            return torch.ones(w, device=device, dtype=dtype)
        size = next((s for part, s in sizes.items() if part in name), (w, w))
        return (torch.randn(size, device=device) * 0.02).to(dtype)

    with torch.inference_mode():
        return MusicgenDecoder(shape, weights, device=device, dtype=dtype)


def their_model(shape: DecoderShape, device: torch.device, dtype: torch.dtype) -> Any:
    """transformers' model of the same shape, random weights; the audio codec's decoding is left out on both sides."""
    from transformers import (  # noqa: PLC0415
        EncodecConfig,
        MusicgenConfig,
        MusicgenDecoderConfig,
        MusicgenForConditionalGeneration,
        T5Config,
    )

    text = T5Config(d_model=shape.text_width, num_layers=1, num_heads=12, d_ff=64, vocab_size=64)
    decoder = MusicgenDecoderConfig(
        vocab_size=shape.vocabulary, hidden_size=shape.width, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, ffn_dim=4 * shape.width, num_codebooks=shape.codebooks,
        pad_token_id=shape.vocabulary, bos_token_id=shape.vocabulary, activation_function="gelu",
    )  # fmt: skip
    codec = EncodecConfig(sampling_rate=32000, codebook_size=shape.vocabulary, num_filters=2, hidden_size=16)
    config = MusicgenConfig(text_encoder=text.to_dict(), audio_encoder=codec.to_dict(), decoder=decoder.to_dict())
    with torch.device(device):
        made = MusicgenForConditionalGeneration(config)
    model: Any = made.to(dtype).eval()
    model.generation_config.decoder_start_token_id = shape.vocabulary
    model.generation_config.pad_token_id = shape.vocabulary
    model.generation_config.bos_token_id = shape.vocabulary
    silent = torch.zeros(1, 1, 1)
    model.audio_encoder.decode = lambda *_args, **_kwargs: argparse.Namespace(audio_values=silent)
    return model


# ── rows ────────────────────────────────────────────────────────────────────────────────────────


def at_once(bench: Bench, count: int) -> list[Row]:
    """ms a step and frames a second with `count` requests from the start."""
    steps = bench.frames + 3
    bench.engine(count)
    ours, theirs = taking_turns(
        bench,
        lambda: bench.run_ours(count, bench.frames) / steps,
        lambda: bench.run_theirs(count, bench.frames) / steps,
    )
    return [
        lower_is_better(f"{count} at once, a frame of all", 1e3 * ours, theirs and 1e3 * theirs, "ms"),
        higher_is_better(f"{count} at once", count / ours, theirs and count / theirs, "frames/s"),
    ]


def arriving(bench: Bench, count: int) -> Row:
    """Frames a second from the first arrival to the last frame."""
    dice = random.Random(count)
    alone = bench.run_ours(1, bench.frames)
    bench.engine(count)
    gaps = [0.0, *(dice.expovariate(2 / alone) for _ in range(count - 1))]  # on average two come while one is made
    lengths = [dice.randint(bench.frames // 2, bench.frames * 3 // 2) for _ in range(count)]
    total = sum(lengths)

    def ours() -> float:
        engine = bench.engine(count)
        began = time.perf_counter()
        running = []
        for n, (gap, frames) in enumerate(zip(gaps, lengths, strict=True)):
            time.sleep(gap)
            running.append(engine.submit(bench.request(frames, n)))
        for sequence in running:
            sequence.result()
        return time.perf_counter() - began

    def theirs() -> float:
        return min(queued(bench, gaps, lengths, together) for together in (False, True))

    our_time, their_time = taking_turns(bench, ours, theirs)
    return higher_is_better(f"{count} arriving", total / our_time, their_time and total / their_time, "frames/s")


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

    began = time.perf_counter()
    threading.Thread(target=arrive, daemon=True).start()
    served = 0
    while served < len(lengths):
        with came:
            came.wait_for(lambda: bool(waiting))
            batch, waiting[:] = (waiting[:], []) if together else (waiting[:1], waiting[1:])
        bench.run_theirs(len(batch), max(batch))
        served += len(batch)
    return time.perf_counter() - began


def first_audio(bench: Bench) -> Row:
    """From submit until codes of the first second are there; theirs has them when all is done."""
    frames = max(bench.frames, 50)

    def ours() -> float:
        began = time.perf_counter()
        sequence = bench.engine(1).submit(bench.request(frames * 2, 0))
        sequence.wait(min(50, frames))
        took = time.perf_counter() - began
        sequence.cancel()
        return took

    ours_s, theirs_s = taking_turns(bench, ours, lambda: bench.run_theirs(1, frames * 2))
    return lower_is_better(f"first second of {frames * 2 / 50:g} s", ours_s, theirs_s, "s")


def python_share(bench: Bench) -> Row:
    """Time of a step that is not arithmetic: the same number of layers and calls on matrices of next to no size."""
    slim = replace(bench.shape, width=16, heads=1, vocabulary=16, text_width=16)
    with Engine(our_decoder(slim, bench.device, bench.dtype), 1) as engine:
        prompt = MusicgenPrompt(text=torch.randn(TEXT_TOKENS, 16, device=bench.device, dtype=bench.dtype))
        request = GenerationRequest(prompt, 60, SAMPLING)
        engine.submit(request).result()
        began = time.perf_counter()
        engine.submit(request).result()
        slim_step = (time.perf_counter() - began) / 63
    whole = statistics.median(bench.run_ours(1, bench.frames) / (bench.frames + 3) for _ in range(bench.repeat))
    return Row("not arithmetic, share of a step", round(slim_step / whole, 3), None, "", None)


def floor(bench: Bench) -> Row:
    """ms to read all weights of a step once, at the bandwidth this device shows now, beside our step."""
    s = bench.shape
    count = s.layers * 14 * s.width**2 + s.codebooks * s.vocabulary * s.width
    block = torch.ones(count, device=bench.device, dtype=bench.dtype)
    times = []
    for _ in range(7):
        began = time.perf_counter()
        block.sum()
        if bench.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    del block
    step = statistics.median(bench.run_ours(1, bench.frames) / (bench.frames + 3) for _ in range(bench.repeat))
    return lower_is_better("floor (theirs): reading the weights once", 1e3 * step, 1e3 * median(times), "ms")


def trace(bench: Bench, count: int) -> list[Row]:
    """Random arrivals, lengths and settings; a tenth is cancelled on its way. Fails when a length is not exact."""
    dice = random.Random(1)
    engine = Engine(bench.ours, 8)
    warm = engine.submit(bench.request(1500, 0))  # the longest: the cache has its size
    warm.result()
    step_s = (time.monotonic() - warm.submitted_at) / 1503
    before, peak, freed = psutil.Process().memory_info().rss, 0, []
    running = []
    for n in range(count):
        time.sleep(dice.expovariate(1 / (step_s * 800 / 7)))  # about seven at work on average
        settings = replace(SAMPLING, seed=n, top_k=dice.choice([0, 50, 250]), top_p=dice.choice([0.9, 1.0]),
                           guidance_scale=dice.choice([1.0, 3.0, 15.0]))  # fmt: skip
        request = replace(bench.request(50 * dice.randint(2, 30), n), sampling=settings)
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


def main() -> None:
    args = arguments(__doc__, more)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    counts = [1, 4] if args.quick and args.requests == "1,2,4,8,16" else [int(n) for n in args.requests.split(",")]
    bench = Bench(args)
    rows: list[Row] = []
    if args.trace:
        show(trace(bench, args.trace), args.json, [f"musicgen-{args.size}, {bench.dtype}, {bench.device}, 8 slots"])
        return
    for count in counts:
        rows += at_once(bench, count)
    for count in counts:
        if count >= 4:
            rows.append(arriving(bench, count))
    rows.append(first_audio(bench))
    rows.append(python_share(bench))
    rows.append(floor(bench))
    for engine in bench.engines.values():
        engine.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if bench.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**20
    rows.append(Row("peak memory, both models" if bench.theirs else "peak memory", round(peak), None, "MiB", None))
    notes = [
        f"musicgen-{args.size}, {bench.dtype}, {bench.device}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, {bench.frames} frames a request, medians of {bench.repeat}"
    ]
    if bench.theirs is not None:
        import transformers  # noqa: PLC0415

        notes.append(f"theirs: transformers {transformers.__version__}, generate(), SDPA attention")
    gc.collect()
    show(rows, args.json, notes)


if __name__ == "__main__":
    main()
