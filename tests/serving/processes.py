"""Real service processes for tests, and a model family that does as it is told, added by an entry point."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tonewheel.announcement import announced

DAWDLER = '''
"""A family in a package of its own: it sleeps in steps, fails on request, streams, takes files."""
import os, time
import numpy as np
from typing import Annotated, Literal
from pydantic import BaseModel, Field
from tonewheel.errors import ConsentRequired, InvalidRequest, OutOfMemory
from tonewheel.models.base import (Audio, Blob, Card, Family, InfoRoute, Metadata, Model, ModelRequest, Result, Seed,
                                   Upload, WorkRoute)

CARD = Card(id="dawdler", family="dawdler", title="Dawdler", tasks=("sound",), revision="r1", code_license="MIT",
            sample_rate=8000, channels=1, max_duration_s=600, concurrency=int(os.environ.get("DAWDLER_SLOTS", "1")),
            service="dawdler", default_port=48713)

class Ask(ModelRequest):
    prompt: str = ""
    duration: float = Field(default=1.0, ge=0.5, le=600)
    top_k: int = Field(default=250, ge=0, le=1000)
    style: Literal["slow", "slower"] = "slow"
    loud: bool = False
    seed: Seed | None = None
    steps: int = 1
    step_s: float = 0.0
    hold: str = ""      # works until this file is there
    deaf: bool = False  # and does not look up meanwhile
    stream: bool = False
    fail: str | None = None
    audio: Upload | None = None

class Made(BaseModel):
    audio_base64: str
    duration: float
    metadata: Metadata

class Dawdler(Model[Ask]):
    begun = stopped = 0
    def load(self, context):
        if until := os.environ.get("DAWDLER_LOADS_UNTIL"):
            context.progress("weights", 0.1)
            while not os.path.exists(until):
                time.sleep(0.02)
        match os.environ.get("DAWDLER_LOAD_FAILS"):
            case "memory": raise OutOfMemory("the model needs 9 GB and 1 GB is free")
            case "licence": raise ConsentRequired("its licence asks for a yes")
            case "fault": raise ValueError("secret detail /etc/passwd")
    def validate(self, request):
        if request.prompt == "forbidden":
            raise InvalidRequest("this prompt is refused", param="prompt")
        return request
    def run(self, request, context):
        try:
            Dawdler.begun += 1
            for i in range(request.steps):
                context.progress("steps", 0.9 * i / request.steps)
                if request.stream:
                    context.audio(Audio(np.full((800, 1), 0.5, np.float32), 8000))
                time.sleep(request.step_s)
            while request.hold and not os.path.exists(request.hold):
                if not request.deaf:
                    context.check_cancelled()
                time.sleep(0.02)
        except BaseException:
            Dawdler.stopped += 1
            raise
        match request.fail:
            case "fault": raise ValueError(f"secret detail /etc/passwd {request.prompt}")
            case "memory": raise MemoryError
            case "cuda": raise type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory")
            case "disk": raise OSError(28, "No space left on device")
            case "late": raise InvalidRequest("found out while working", param="prompt")
            case "notjson": return Result({"value": object()})
            case "nan": return Result({"value": float("nan")})
        seed = 7 if request.seed is None else request.seed
        samples = np.random.Generator(np.random.PCG64(seed)).uniform(
            -0.5, 0.5, (int(request.duration * 8000), 1)).astype(np.float32)
        audio = Audio(samples, 8000)
        fields = {"audio_base64": audio, "duration": audio.duration_s, "prompt": request.prompt,
                  "note_base64": Blob(b"a note", "text/plain", "note.txt"),
                  "heard": None if request.audio is None else len(request.audio)}
        return Result(fields, audio, seed=seed, duration_s=audio.duration_s)

class Foreign(ModelRequest):
    words: str

class ForeignMade(BaseModel):
    said: str

FAMILY = Family(
    name="dawdler", title="Dawdler", cards=(CARD,), request=Ask, response=Made, create=Dawdler,
    memory_bytes=lambda card, request: 1000, metadata_keys=("metadata", "meta"), max_body_bytes=1_000_000,
    routes=(
        InfoRoute("/stopped", "How many runs were begun, and how many stopped",
                  lambda model: {"begun": Dawdler.begun, "stopped": Dawdler.stopped}),
        WorkRoute("/foreign", "In other words", Foreign, ForeignMade,
                  lambda body: Ask(prompt=body.words, client_job_id=body.client_job_id),
                  lambda body, answer: {"said": body.words.upper(), "trace": answer["metadata"]["trace_id"]}),
    ),
)
'''


def write_plugin(folder: Path, module: str = "dawdler", source: str = DAWDLER) -> Path:
    """A package with an entry point, as `pip install` would leave it; the folder is for PYTHONPATH."""
    (folder / module).mkdir(parents=True)
    (folder / module / "__init__.py").write_text(source)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[tonewheel.models]\n{module} = {module}:FAMILY\n")
    return folder


@dataclass
class Service:
    """A running service process."""

    process: subprocess.Popen[str]
    about: dict[str, Any]
    client: httpx.Client
    log: Path

    def post(self, path: str = "/predict", body: Any = None, **more: Any) -> httpx.Response:
        return self.client.post(path, json=body or {}, **more)

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.client.get(path, **more)

    def wait(self, key: str, value: object, within_s: float = 120.0) -> dict[str, Any]:
        """Ask /health until `key` has `value`."""
        until = time.monotonic() + within_s
        while (health := self.get("/health").json())[key] != value:
            assert time.monotonic() < until, f"{key} is {health[key]!r} after {within_s} s, not {value!r}"
            time.sleep(0.02)
        return dict(health)

    def stop(self, sig: int = signal.SIGTERM, timeout: float = 120.0) -> int:
        self.process.send_signal(sig)
        return self.process.wait(timeout)


@contextlib.contextmanager
def service(name: str, folder: Path, *arguments: str, ready: bool = True, **env: str) -> Iterator[Service]:
    """Start `python -m tonewheel.serving NAME` on a free port and wait for it; ended afterwards whatever happens."""
    where = () if {"--port", "--uds"} & set(arguments) else ("--port", "0")
    log = folder / f"{name}-{time.monotonic_ns()}.log"
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("TONEWHEEL_", "OTEL_"))}
    with log.open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "tonewheel.serving", name, "--json", *where, *arguments],
            stdout=subprocess.PIPE, stderr=err, text=True, env=clean | env,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        about = next((told for line in process.stdout if (told := announced(line)) is not None), None)
        assert about is not None, log.read_text()
        transport = httpx.HTTPTransport(uds=about["uds"]) if "uds" in about else None
        with httpx.Client(base_url=about.get("url", "http://model"), transport=transport, timeout=120) as client:
            running = Service(process, about, client, log)
            if ready:
                running.wait("state", "ready")
            yield running
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def events(response: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    """Server-sent events of a streamed response as (name, data)."""
    name = ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            yield name, json.loads(line[6:])


def error_of(response: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """The `detail` of an error answer, its shape checked."""
    assert response.status_code == status, response.text[:300]
    body = response.json()
    detail = body["detail"]
    assert {"type", "message", "retryable", "request_id"} <= set(detail) <= {
        "type", "message", "param", "retryable", "request_id", "error_id",
    }  # fmt: skip
    assert detail["type"] == kind
    assert detail["request_id"] == response.headers["x-request-id"]
    assert "Traceback" not in response.text
    return dict(detail)
