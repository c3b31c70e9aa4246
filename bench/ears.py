"""CLAP under load: clips a second for 1, 8 and 32 clients at once, beside transformers and LitServe, in one run.

The architecture of clap-htsat-unfused at its real size, random weights (values do not change the speed). A clip is
10 s of 44.1 kHz stereo as FLAC in base64, decoded, mixed down, resampled and embedded; every client sends the next one
as soon as it has its answer. Sides:

- transformers: a plain loop in one process, its own feature extractor and ClapModel, one clip after another
- LitServe: the same loop's model behind its server, `max_batch_size` 8, `batch_timeout` 10 ms
- tonewheel: `tonewheel service clap` over HTTP; a second time with TONEWHEEL_CLAP_DTYPE=bfloat16

Beside clips a second: seconds of CPU a clip, over all processes of a side, which other work on the machine disturbs
less.

Then `--memory N` requests through tonewheel, and its resident memory before, in between and after.

    python bench/ears.py [--quick] [--json] [--clients 1,8,32] [--clips 48] [--memory 0]

LitServe is no dependency: `pip install litserve` beside this project, and name the folder in PYTHONPATH.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import soundfile

from report import Row, arguments, lower_is_better, show

RATE = 44_100
Ask = Callable[[str], None]

_LITSERVE = """
import base64, io, sys
import litserve, numpy, soundfile, soxr, torch
from transformers import ClapModel, ClapProcessor

class Api(litserve.LitAPI):
    def setup(self, device):
        self.model = ClapModel.from_pretrained(sys.argv[1]).eval()
        self.processor = ClapProcessor.from_pretrained(sys.argv[1])
    def decode_request(self, request):
        samples, rate = soundfile.read(io.BytesIO(base64.b64decode(request["audio"])), dtype="float32", always_2d=True)
        return soxr.resample(samples.mean(axis=1), rate, 48000)
    def predict(self, clips):
        with torch.inference_mode():
            inputs = self.processor.feature_extractor(clips, sampling_rate=48000, return_tensors="pt")
            return list(self.model.get_audio_features(**inputs).pooler_output.numpy())
    def encode_response(self, embedding):
        return {"embeddings": embedding.tolist()}

if __name__ == "__main__":
    api = Api(max_batch_size=8, batch_timeout=0.01)
    server = litserve.LitServer(api, accelerator="cpu", timeout=900)
    server.run(port=int(sys.argv[2]), host="127.0.0.1", generate_client_file=False)
"""


def main() -> None:
    def more(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--clients", default="1,8,32")
        parser.add_argument("--clips", type=int, default=48)
        parser.add_argument("--memory", type=int, default=0)

    options = arguments(__doc__, more)
    clients = [1, 8] if options.quick else [int(n) for n in options.clients.split(",")]
    clips = 16 if options.quick else options.clips
    files = [clip(seed) for seed in range(8)]
    rows: list[Row] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="tonewheel-ears-") as name:
        folder = checkpoint(Path(name) / "model")
        loop = plain_loop(folder, files, clips)
        theirs: dict[int, Speed] = {}
        if find_spec("litserve") is None:
            notes.append("LitServe is not installed: that side is left out")
        else:
            with litserve(folder) as (process, client):
                theirs = {count: under_load(process, client, files, clips, count) for count in clients}
        for dtype in ("float32", "bfloat16"):
            with service(folder, dtype) as (process, client):
                for count in clients:
                    ours = under_load(process, client, files, clips, count)
                    rows += beside(f"{dtype}, {count} clients, beside the loop", ours, loop)
                    rows += beside(f"{dtype}, {count} clients, beside LitServe", ours, theirs.get(count))
        if options.memory:
            rows += [memory(folder, dtype, files, options.memory) for dtype in ("float32", "bfloat16")]
            notes.append("memory: ours after all requests, theirs after a fifth of them")
    show(rows, options.json, notes)


@dataclass(frozen=True, slots=True)
class Speed:
    clips_a_second: float
    cpu_s: float  # a clip, over all processes


def beside(name: str, ours: Speed, theirs: Speed | None) -> list[Row]:
    there = None if theirs is None else theirs.clips_a_second
    ratio = None if there is None else round(ours.clips_a_second / there, 2)
    speed = Row(name, round(ours.clips_a_second, 3), None if there is None else round(there, 3), "clip/s", ratio)
    return [speed, lower_is_better(f"{name}, CPU", ours.cpu_s, None if theirs is None else theirs.cpu_s, "s")]


# ── what is sent, and what it is sent to ────────────────────────────────────────────────────────


def clip(seed: int) -> str:
    rng = np.random.default_rng(seed)
    t = np.arange(10 * RATE) / RATE
    tone = 0.3 * np.sin(2 * np.pi * rng.uniform(80, 800) * t) * np.exp(-((2 * t) % 1))
    noise = 0.02 * rng.standard_normal((len(t), 2))
    file = io.BytesIO()
    soundfile.write(file, tone[:, None] + noise, RATE, format="FLAC")
    return base64.b64encode(file.getvalue()).decode()


def checkpoint(folder: Path) -> Path:
    """clap-htsat-unfused's shape, with a byte-level tokenizer."""
    from tokenizers.pre_tokenizers import ByteLevel  # noqa: PLC0415
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, RobertaTokenizer  # noqa: PLC0415

    model: Any = ClapModel(ClapConfig())
    model.save_pretrained(folder)
    ClapFeatureExtractor(truncation="rand_trunc").save_pretrained(folder)
    letters = ["<s>", "<pad>", "</s>", "<unk>", *sorted(ByteLevel.alphabet()), "<mask>"]
    RobertaTokenizer(vocab={text: i for i, text in enumerate(letters)}, merges=[]).save_pretrained(folder)
    return folder


def plain_loop(folder: Path, files: list[str], clips: int) -> Speed:
    """The model used as its documentation says, in a process of its own."""
    code = (
        "import base64, io, json, sys, time\n"
        "import soundfile, soxr, torch\n"
        "from transformers import ClapModel, ClapProcessor\n"
        "model = ClapModel.from_pretrained(sys.argv[1]).eval()\n"
        "processor = ClapProcessor.from_pretrained(sys.argv[1])\n"
        "files, count = json.load(sys.stdin)\n"
        "def embed(file):\n"
        "    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(file)), dtype='float32', always_2d=True)\n"
        "    samples = soxr.resample(samples.mean(axis=1), rate, 48000)\n"
        "    inputs = processor.feature_extractor(samples, sampling_rate=48000, return_tensors='pt')\n"
        "    with torch.inference_mode():\n"
        "        return model.get_audio_features(**inputs).pooler_output\n"
        "embed(files[0])\n"
        "began, cpu = time.perf_counter(), time.process_time()\n"
        "for n in range(count):\n"
        "    embed(files[n % len(files)])\n"
        "print(count / (time.perf_counter() - began), (time.process_time() - cpu) / count)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(folder)], input=json.dumps([files, clips]), text=True, check=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    speed, cpu_s = ran.stdout.split()[-2:]
    return Speed(float(speed), float(cpu_s))


@contextmanager
def litserve(folder: Path) -> Iterator[tuple[psutil.Process, httpx.Client]]:
    with tempfile.TemporaryDirectory() as work:
        script, port = Path(work) / "serve.py", 18_207
        script.write_text(_LITSERVE)
        process = subprocess.Popen(
            [sys.executable, str(script), str(folder), str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600) as client:
                _until(lambda: client.get("/health").status_code == 200)
                yield psutil.Process(process.pid), client
        finally:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
            process.wait()


def to(client: httpx.Client) -> Ask:
    return lambda file: _sent(client.post("/predict", json={"audio": file}))


@contextmanager
def service(folder: Path, dtype: str) -> Iterator[tuple[psutil.Process, httpx.Client]]:
    environment = os.environ | {
        "TONEWHEEL_CLAP_HTSAT_UNFUSED_PATH": str(folder), "TONEWHEEL_CLAP_DTYPE": dtype, "TONEWHEEL_DEADLINE_S": "900",
    }  # fmt: skip
    port = 18_208
    process = subprocess.Popen(
        [sys.executable, "-m", "tonewheel.serving", "clap", "--port", str(port)], env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=900) as client:
            _until(lambda: client.get("/readyz").status_code == 200)
            yield psutil.Process(process.pid), client
    finally:
        process.terminate()
        process.wait(60)


def _until(true: Callable[[], bool], within_s: float = 300.0) -> None:
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            if true():
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"a server did not answer within {within_s:.0f} s")


def _sent(answer: httpx.Response) -> None:
    assert len(answer.raise_for_status().json()["embeddings"]) == 512


# ── load ────────────────────────────────────────────────────────────────────────────────────────


def under_load(process: psutil.Process, client: httpx.Client, files: list[str], clips: int, clients: int) -> Speed:
    """Every client sends at least two."""
    ask = to(client)
    total = max(clips, 2 * clients)
    ask(files[0])
    numbers = iter(range(total))
    lock = threading.Lock()
    done: list[int] = []

    def work() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            ask(files[number % len(files)])
            done.append(number)

    threads = [threading.Thread(target=work) for _ in range(clients)]
    began, cpu = time.perf_counter(), cpu_seconds(process)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    assert len(done) == total  # a client that failed would make the others look quick
    return Speed(total / took, (cpu_seconds(process) - cpu) / total)


def cpu_seconds(process: psutil.Process) -> float:
    """Of a process and all it started, ended ones too."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        times = one.cpu_times()
        total += times.user + times.system + getattr(times, "children_user", 0) + getattr(times, "children_system", 0)
    return total


def memory(folder: Path, dtype: str, files: list[str], requests: int) -> Row:
    """Resident memory of the service and its decoders, after a fifth of the requests and after all."""
    marks: list[float] = []
    with service(folder, dtype) as (process, client):
        for part in range(5):
            under_load(process, client, files, requests // 5, 16)
            family = [process, *process.children(recursive=True)]
            marks.append(sum(p.memory_info().rss for p in family if p.is_running()) / 2**20)
            print(f"{dtype}, after {(part + 1) * requests // 5} requests: {marks[-1]:.0f} MB", file=sys.stderr)
    return lower_is_better(f"{dtype}, memory, {requests} requests", marks[-1], marks[0], "MB")


if __name__ == "__main__":
    main()
