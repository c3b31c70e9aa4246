"""Hundreds of jobs at once, through four workers on PostgreSQL and four slots of one worker on SQLite.

The model is one that takes a tenth of a second and makes one second of a tone, in a process of its own like any
other: added here by an entry point, as anybody may.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psutil

from servers import STEPS, Server, serving, until_ready, worker_beside
from trials.common import Trial
from trials.postgres import Postgres

_FAMILY = """
import time
from pydantic import BaseModel
from tonewheel.models.base import Audio, Card, Family, Metadata, Model, ModelRequest, Result

class Ask(ModelRequest):
    prompt: str = ""
    duration: float = 1.0
    seed: int | None = None

    def audio_seconds(self):
        return self.duration

class Made(BaseModel):
    audio_base64: str | None = None
    metadata: Metadata

class Tone(Model[Ask]):
    def load(self, context):
        context.progress("loading", 1.0)

    def run(self, request, context):
        import numpy as np

        time.sleep(0.1)
        t = np.arange(round(request.duration * 8000)) / 8000
        sound = 0.2 * np.sin(2 * np.pi * 440 * t).astype(np.float32)
        audio = Audio(sound[:, None].repeat(2, 1), 8000)
        return Result({"audio_base64": audio}, audio=audio)

CARD = Card(id="tone", family="tone", title="Tone", tasks=("music",), code_license="MIT", service="tone",
            default_port=48011, sample_rate=8000, channels=2, concurrency=4)
FAMILY = Family(name="tone", title="Tone", cards=(CARD,), request=Ask, response=Made, create=Tone,
                memory_bytes=lambda card, request: 60_000_000)
"""
_AT_ONCE = 8  # orders


def run(trial: Trial) -> None:
    count = 60 if trial.quick else 500
    site = _install(trial.folder / "site")
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    _on_sqlite(trial, count, path)
    home = trial.folder / "postgres"
    home.mkdir()
    trial.folder.chmod(0o755)
    database = Postgres(home)
    try:
        _on_postgres(trial, database.new_database(), count, path)
    finally:
        database.stop()


def _on_sqlite(trial: Trial, count: int, path: str) -> None:
    with serving(trial.folder / "sqlite", settings=_settings(path)) as server:
        _through(trial, server, f"{count} jobs, SQLite, one worker of 4 slots", count)
        own = _memory_mb(server.gateway()) + _memory_mb(server.worker())
        trial.measured(f"gateway and worker after {count} jobs", own, "MB")


def _on_postgres(trial: Trial, url: str, count: int, path: str) -> None:
    folder = trial.folder / "hosts"
    storage = folder / "storage"
    settings = _settings(path) | {"TONEWHEEL_STORAGE_URL": storage.as_uri()}
    with ExitStack() as stack:
        start = serving(folder, "--workers", "0", database=url, settings=settings)
        server = stack.enter_context(start)
        for n in range(4):
            stack.enter_context(worker_beside(server, folder / f"host{n}", storage, settings))
        until_ready(server)
        _through(trial, server, f"{count} jobs, PostgreSQL, four workers", count)


def _through(trial: Trial, server: Server, name: str, count: int) -> None:
    begin = time.monotonic()

    def order(n: int) -> str:
        return server.order(narrative=None, prompt=f"tone {n}", model="tone", duration_s=1, seed=n, format="wav")

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        jobs = list(pool.map(order, range(count)))
    ordered = time.monotonic() - begin
    ended = [server.wait(job_id, limit_s=1800) for job_id in jobs]
    took = time.monotonic() - begin
    faults = [f"{j['id']} ended as {j['state']} after {j['attempts']} starts: {j['error']}" for j in ended
              if j["state"] != "done" or j["attempts"] != 1]  # fmt: skip
    total = server.client.get("/v1/songs?limit=1").json()["total"]
    if total != count:
        faults.append(f"there are {total} songs")
    time.sleep(1.0)
    begun = Counter((job_id, step) for job_id in jobs for step in server.steps_begun(job_id))
    faults += [f"{step} of {job_id} was begun {n} times" for (job_id, step), n in begun.items() if n > 1]
    if len(begun) != count * len(STEPS):
        faults.append(f"{len(begun)} steps were done")
    trial.judge(name, faults)
    trial.count(f"{name}: done once", count - len({f.split()[0] for f in faults}), count)
    trial.measured(f"{name}: orders", count / ordered, "1/s")
    trial.measured(f"{name}: songs", count / took, "1/s")


def _settings(path: str) -> dict[str, str]:
    return {"PYTHONPATH": path, "TONEWHEEL_QUEUE_LIMIT": "1000"}


def _memory_mb(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 2**20


def _install(site: Path) -> Path:
    info = site / "tone-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "tonewheel_tone.py").write_text(_FAMILY)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tone\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tonewheel.models]\ntone = tonewheel_tone:FAMILY\n")
    return site
