"""Real servers: `tonewheel serve` on a free port with a folder of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

NARRATIVE = "An old lighthouse keeper counts the waves every night."


@dataclass
class Served:
    """A running server."""

    process: subprocess.Popen[str]
    url: str
    about: dict[str, Any]
    data_dir: Path
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = httpx.Client(base_url=self.url, timeout=180)  # a model may have to be started first

    def order(self, **body: Any) -> dict[str, Any]:
        """An accepted order; 10 s of a song unless `body` says otherwise."""
        answer = self.client.post("/v1/songs", json={"narrative": NARRATIVE, "duration_s": 10, "seed": 3} | body)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def job(self, job: dict[str, Any] | str) -> dict[str, Any]:
        return self.client.get(f"/v1/jobs/{job if isinstance(job, str) else job['id']}").json()

    def wait(
        self, job: dict[str, Any], until: Callable[[dict[str, Any]], bool] | None = None, s: float = 300
    ) -> dict[str, Any]:
        """The job when it has ended, or when `until` says so."""
        done = until or (lambda j: j["state"] in ("done", "failed", "cancelled", "poisoned"))
        limit, now = time.monotonic() + s, {}
        while time.monotonic() < limit:
            try:
                answer = self.client.get(f"/v1/jobs/{job if isinstance(job, str) else job['id']}")
                now = answer.json()
                if answer.status_code == 200 and done(now):
                    return now
            except httpx.HTTPError as e:  # the gateway is just being started again
                now = {"state": f"not told: {e!r}"}
            time.sleep(0.05)
        raise AssertionError(f"the job is still {now}")

    def stop(self) -> None:
        """As a power cut would: its children go with it."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def environment(**more: str) -> dict[str, str]:
    """Ours without settings that the person who runs the tests has."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TONEWHEEL_", "HEARTMULA_", "JEN1_"))}
    return {**kept, **more}


@contextmanager
def serving(data_dir: Path, *options: str, **settings: str) -> Iterator[Served]:
    """A server that listens, and is gone after the block."""
    data_dir.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "tonewheel.cli.main",
        "serve",
        "--port",
        "0",
        "--json",
        "--data-dir",
        str(data_dir),
    ]
    log = (data_dir / "log").open("a")
    process = subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=log, text=True, env=environment(**settings)
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"the server did not start: {(data_dir / 'log').read_text()}"
    about = json.loads(line)
    served = Served(process, about["url"], about, data_dir)
    try:
        yield served
    finally:
        served.stop()
        log.close()


def command(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """A command of its own process."""
    return subprocess.run(
        [sys.executable, "-m", "tonewheel.cli.main", *arguments], capture_output=True, text=True, timeout=180,
        env=environment(**settings), check=False,
    )  # fmt: skip
