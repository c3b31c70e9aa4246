"""A whole piece of music by the model as it is served: words to samples, text encoder and codec included.

Random weights of the real size (T5-base, musicgen-small, EnCodec 32 kHz as their official configurations say) in the
layout of a checkpoint. Each precision runs in a process of its own, twice: the first start quantises and keeps its
weights, the second reads them; memory is that of the second, the system's own count of the process's peak. A start is
`Model.load`, with torch and transformers imported before (10 s cold). "whole" is a request that nobody listens to while
it is made, whose codes become samples at the end; "streamed" the same, handed out second by second. Words, frames,
codec and file (WAV) are measured alone, after it.

    python bench/musicgen.py --end-to-end 30 --precision int8,int4,float32 [--folder DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from report import Column, Growing

COLUMNS = [
    Column("first start s", "first_load_s", 1), Column("start s", "load_s", 1), Column("whole s", "whole_s", 1),
    Column("RTF", "rtf", 2), Column("words s", "text_s", 2), Column("frames s", "frames_s", 1),
    Column("codec s", "codec_s", 2), Column("file s", "file_s", 2), Column("streamed s", "streamed_s", 1),
    Column("first audio s", "first_audio_s", 2), Column("peak MiB", "peak_mib", 0),
]  # fmt: skip
_PROMPT = "warm lo-fi with a slow beat, a soft piano and a double bass"
_MODEL = "musicgen-small"


def end_to_end(
    seconds: float, precisions: list[str], threads: int, as_json: bool, size: str, folder: Path | None
) -> None:
    """A row for each precision, as soon as it is there."""
    table = Growing(COLUMNS, as_json)
    table.head(f"{seconds:g} s of music, text to samples")
    with tempfile.TemporaryDirectory(prefix="tonewheel-bench-") as own:
        checkpoint = folder or Path(own) / "checkpoint"
        if not (checkpoint / "config.json").is_file():
            _run(["write", str(checkpoint), size], {})
        for precision in precisions:
            environment = {
                "TONEWHEEL_MUSICGEN_SMALL_PATH": str(checkpoint), "TONEWHEEL_MUSICGEN_DTYPE": precision,
                "TONEWHEEL_DATA_DIR": str(Path(own) / "data"), "TONEWHEEL_THREADS": str(threads),
                "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads),
            }  # fmt: skip
            first = _run(["make", "1", str(threads)], environment)
            told = _run(["make", str(seconds), str(threads)], environment)
            told["first_load_s"] = first["load_s"]
            table.side("end to end", f"{precision}, {told.pop('kernels')}", told)
    table.end([f"musicgen-{size}, random weights, {threads} threads, prompt: {_PROMPT!r}, guidance 3"])


def _run(what: list[str], environment: dict[str, str]) -> Any:
    command = [sys.executable, str(Path(__file__).resolve()), *what]
    done = subprocess.run(
        command, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=False, timeout=3600
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(what)} ended with {done.returncode} (its own words are above)")
    return json.loads(done.stdout.splitlines()[-1])


# ── in a process of its own ─────────────────────────────────────────────────────────────────────


def write(folder: Path, size: str) -> None:
    """A checkpoint of random weights."""
    import torch  # noqa: PLC0415
    from transformers import (  # noqa: PLC0415
        EncodecConfig,
        MusicgenConfig,
        MusicgenDecoderConfig,
        MusicgenForConditionalGeneration,
        T5Config,
        T5Tokenizer,
    )

    from musicgen_models import SHAPES  # noqa: PLC0415

    shape = SHAPES[size]
    torch.manual_seed(0)
    little = size == "tiny"
    text = T5Config(
        vocab_size=32128, d_model=shape.text_width, d_kv=64, d_ff=4 * shape.text_width, num_layers=2 if little else 12,
        num_heads=2 if little else 12,
    )  # fmt: skip
    codec = EncodecConfig(  # that of facebook/encodec_32khz
        target_bandwidths=[2.2], sampling_rate=32_000, audio_channels=1, normalize=False,
        num_filters=8 if little else 64, upsampling_ratios=[8, 5, 4, 4], codebook_size=shape.vocabulary,
        codebook_dim=128, hidden_size=128, num_lstm_layers=2, num_residual_layers=1,
        use_causal_conv=False, use_conv_shortcut=False,
    )  # fmt: skip
    decoder = MusicgenDecoderConfig(
        vocab_size=shape.vocabulary, hidden_size=shape.width, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, ffn_dim=4 * shape.width, num_codebooks=shape.codebooks,
        pad_token_id=shape.vocabulary, bos_token_id=shape.vocabulary,
    )  # fmt: skip
    config = MusicgenConfig(text_encoder=text.to_dict(), audio_encoder=codec.to_dict(), decoder=decoder.to_dict())
    model: Any = MusicgenForConditionalGeneration(config)
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if name.endswith("codebook.embed"):
                buffer.normal_()
    model.save_pretrained(folder)
    signs = [chr(n) for n in range(33, 127)]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((sign, -3.0) for sign in signs)]
    T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=512).save_pretrained(folder)
    print("{}")


def make(seconds: float, threads: int) -> None:
    """Load, make a piece as the service would, and tell how long each took."""
    from tonewheel.threads import limit_threads  # noqa: PLC0415

    limit_threads(_MODEL)  # as the service does, before torch is there
    import torch  # noqa: PLC0415
    from transformers import AutoTokenizer, EncodecModel, T5EncoderModel  # noqa: F401, PLC0415

    torch.set_num_threads(threads)
    from tonewheel.engine.kernels import best_kernels  # noqa: PLC0415
    from tonewheel.models.base import Audio, RunContext  # noqa: PLC0415
    from tonewheel.models.musicgen import FAMILY  # noqa: PLC0415
    from tonewheel.models.musicgen.request import MusicgenRequest  # noqa: PLC0415

    card = next(c for c in FAMILY.cards if c.id == _MODEL)
    model: Any = FAMILY.create(card)
    began = time.perf_counter()
    model.load(RunContext())
    load = time.perf_counter() - began
    heard: list[float] = []

    def first(_audio: Audio) -> None:
        heard.append(time.perf_counter())

    began = time.perf_counter()
    request = model.validate(MusicgenRequest(prompt=_PROMPT, duration=seconds, seed=1))
    made = model.run(request, RunContext()).audio
    whole = time.perf_counter() - began
    if abs(made.duration_s - seconds) > 1e-3:
        raise SystemExit(f"asked for {seconds} s, made {made.duration_s} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    told = {"load_s": load, "whole_s": whole, "rtf": whole / seconds, "peak_mib": peak}
    told |= _parts(model, made)
    began = time.perf_counter()
    model.run(request, RunContext(on_audio=first))
    told |= {"streamed_s": time.perf_counter() - began, "first_audio_s": heard[0] - began}
    model.release()
    kernels = best_kernels(torch.device("cpu"), model.dtype).name
    print(json.dumps(told | {"kernels": kernels}))


def _parts(model: Any, made: Any) -> dict[str, float]:
    """What each part takes of it, alone. `made`: the audio, whose file is written."""
    import torch  # noqa: PLC0415

    from musicgen_models import SAMPLING  # noqa: PLC0415
    from tonewheel.audio.write import encode  # noqa: PLC0415
    from tonewheel.engine import GenerationRequest  # noqa: PLC0415
    from tonewheel.models.musicgen.decoder import MusicgenPrompt  # noqa: PLC0415
    from tonewheel.models.musicgen.generation import CHUNK  # noqa: PLC0415

    times = [time.perf_counter()]
    words = model._text(_PROMPT + ".")
    times.append(time.perf_counter())
    frames = round(50 * made.duration_s)
    codes: torch.Tensor = model._engine.submit(
        GenerationRequest(MusicgenPrompt(words.states), frames, SAMPLING)
    ).result()
    times.append(time.perf_counter())
    decoding = model._codec.begin()
    for start in range(0, frames, CHUNK):
        decoding.push(codes[:, start : start + CHUNK])
    decoding.finish()
    times.append(time.perf_counter())
    encode(made.samples, made.sample_rate, made.format, made.tags)
    times.append(time.perf_counter())
    names = ("text_s", "frames_s", "codec_s", "file_s")
    return {name: after - before for name, before, after in zip(names, times, times[1:], strict=False)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["write", "make"])
    parser.add_argument("rest", nargs=2)
    args = parser.parse_args()
    if args.what == "write":
        write(Path(args.rest[0]), args.rest[1])
    else:
        make(float(args.rest[0]), int(args.rest[1]))
