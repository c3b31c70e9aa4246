"""Real servers to measure and to kill: `tonewheel serve`, workers beside it, and what their database says."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import sqlalchemy as sa

from tonewheel.library.database import Database

STEPS = ("plan", "render", "check", "analyse", "finish", "store")
NARRATIVE = "An old lighthouse keeper counts the waves every night."
ENDED = ("done", "failed", "cancelled", "poisoned")
_PROGRAM = [sys.executable, "-m", "tonewheel.cli.main"]
_START_S = 90.0

Job = dict[str, Any]


def environment(more: Mapping[str, str] | None) -> dict[str, str]:
    """Ours, without settings of the person who runs this."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TONEWHEEL_", "HEARTMULA_", "JEN1_"))}
    return {**kept, **(more or {})}


@dataclass
class Server:
    """A running `tonewheel serve`."""

    process: subprocess.Popen[str]
    url: str
    database_url: str
    logs: list[Path]  # of the server and of the workers beside it
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = httpx.Client(base_url=self.url, timeout=60)

    # ── its processes ──

    def family(self) -> list[psutil.Process]:
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def gateway(self) -> psutil.Process:
        return self._one("tonewheel.gateway")

    def worker(self) -> psutil.Process:
        return self._one("worker")

    def model(self, name: str = "composer", within: psutil.Process | None = None) -> psutil.Process:
        """The process of a model, of any worker or of `within`."""
        tree = within.children(recursive=True) if within else self.family()
        return _only(tree, lambda words: "tonewheel.serving" in words and name in words)

    def _one(self, word: str) -> psutil.Process:
        return _only(psutil.Process(self.process.pid).children(), lambda words: word in words)

    # ── its work ──

    def order(self, **body: Any) -> str:
        """The id of an accepted job; 10 s of a song unless `body` says otherwise."""
        answer = self.client.post("/v1/songs", json={"narrative": NARRATIVE, "duration_s": 10, "seed": 3} | body)
        if answer.status_code != 202:
            raise SystemExit(f"the order was answered {answer.status_code}: {answer.text[:300]}")
        return str(answer.json()["id"])

    def job(self, job_id: str) -> Job:
        found: Job = self.client.get(f"/v1/jobs/{job_id}").json()
        return found

    def wait(self, job_id: str, until: Callable[[Job], bool] | None = None, limit_s: float = 300) -> Job:
        """The job when it has ended, or when `until` says so. What does not answer is asked again."""
        done = until or (lambda job: job.get("state") in ENDED)
        deadline = time.monotonic() + limit_s
        now: Job = {}
        while time.monotonic() < deadline:
            with suppress(httpx.HTTPError, ValueError):
                now = self.job(job_id)
                if done(now):
                    return now
            time.sleep(0.03)
        raise SystemExit(f"job {job_id} is still {now} after {limit_s:.0f} s\n{self.last_words()}")

    def rendering(self, job_id: str, past: float = 0.1) -> Job:
        """Wait until a job is in the middle of its render."""
        return self.wait(job_id, lambda j: str(j.get("stage")).startswith("render:") and j["fraction"] >= past)

    # ── what became of it ──

    def kept_steps(self, job_id: str) -> set[str]:
        """Steps whose results are on the disk."""
        query = sa.text(f"SELECT function_name FROM {self._schema}operation_outputs WHERE workflow_uuid = :id")
        database = Database.open(self.database_url, patience_s=60)
        try:
            return database.read(lambda c: set(c.scalars(query, {"id": job_id})))
        finally:
            database.close()

    @property
    def _schema(self) -> str:
        return "" if self.database_url.startswith("sqlite") else "dbos."

    def mark(self) -> list[int]:
        """Where the logs end now."""
        return [log.stat().st_size for log in self.logs]

    def steps_begun(self, job_id: str, since: list[int] | None = None) -> list[str]:
        """Every time a step of a job was really begun, by the logs."""
        pattern = re.compile(rf"job {job_id}: ({'|'.join(STEPS)})$", re.MULTILINE)
        return [name for text in self._texts(since) for name in pattern.findall(text)]

    def last_words(self) -> str:
        return "\n".join(text[-3000:] for text in self._texts(None))

    def _texts(self, since: list[int] | None) -> Iterator[str]:
        for number, log in enumerate(self.logs):
            with log.open("rb") as f:
                f.seek(since[number] if since and number < len(since) else 0)
                yield f.read().decode("utf-8", "replace")

    def faults(self, job_id: str) -> list[str]:
        """What is wrong with a job that was to end done, once; nothing when it did."""
        job = self.wait(job_id)
        if job["state"] != "done":
            return [f"it ended as {job['state']}: {job.get('error')}"]
        found: list[str] = []
        told = self.client.get(f"/v1/jobs/{job_id}/events").text
        kinds = re.findall(r"^event: (\w+)$", told, re.MULTILINE)
        numbers = [int(n) for n in re.findall(r"^id: (\d+)$", told, re.MULTILINE)]
        if kinds.count("done") != 1 or kinds[-1] != "done":
            found.append(f"its events end {kinds[-3:]}")
        if numbers != list(range(1, len(numbers) + 1)):
            found.append("its events have gaps")
        song = self.client.get(job["song_url"])
        if song.status_code != 200 or self.client.get(song.json()["audio_url"]).status_code != 200:
            found.append("its song cannot be fetched")
        deadline = time.monotonic() + 10  # the last step is noted just after the end it brought
        while (kept := self.kept_steps(job_id)) != set(STEPS) and time.monotonic() < deadline:
            time.sleep(0.1)
        if kept != set(STEPS):
            found.append(f"kept are {sorted(kept)}")
        return found


def _only(processes: list[psutil.Process], fits: Callable[[list[str]], bool]) -> psutil.Process:
    found = []
    for process in processes:
        with suppress(psutil.Error):
            if fits(process.cmdline()):
                found.append(process)
    if not found:
        raise LookupError("that process does not run")
    return found[0]


@contextmanager
def serving(
    folder: Path,
    *options: str,
    data_dir: Path | None = None,
    database: str | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """A server on a free port, ready to work; gone after the block. Its log is in `folder`."""
    data = data_dir or folder / "data"
    log = folder / "serve.log"
    command = [*_PROGRAM, "serve", "--port", "0", "--json", "--data-dir", str(data), *options]
    if database:
        command += ["--database", database]
    with ExitStack() as stack:
        process = stack.enter_context(_running(command, log, environment(settings)))
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"the server did not start:\n{log.read_text()[-3000:]}")
        url = database or f"sqlite:///{data / 'tonewheel.sqlite'}"
        server = Server(process, json.loads(line)["url"], url, [log])
        if "0" not in options:  # --workers 0: they come later
            until_ready(server)
        yield server
        server.client.close()


@contextmanager
def worker_beside(
    server: Server, folder: Path, storage: Path, settings: Mapping[str, str] | None = None
) -> Iterator[psutil.Process]:
    """`tonewheel worker` with a data directory of its own, as on another host."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "worker.log"
    command = [*_PROGRAM, "worker", "--data-dir", str(folder / "data"), "--database", server.database_url, "--json"]
    with _running([*command, "--storage", storage.as_uri()], log, environment(settings)) as process:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise SystemExit(f"the worker did not start:\n{log.read_text()[-3000:]}")
        server.logs.append(log)
        yield psutil.Process(process.pid)


@contextmanager
def _running(command: list[str], log: Path, env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as out:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=out, env=env, text=True, start_new_session=True
        )
    try:
        yield process
    finally:
        family: list[psutil.Process] = []
        with suppress(psutil.Error):
            family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for one in psutil.wait_procs(family, timeout=10)[1]:
            with suppress(psutil.Error):
                one.kill()


def until_ready(server: Server) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        with suppress(httpx.HTTPError):
            if server.client.get("/readyz").status_code == 200:
                return
        time.sleep(0.1)
    raise SystemExit(f"the server was not ready in {_START_S:.0f} s\n{server.last_words()}")
