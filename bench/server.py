"""The server's own cost: latencies, throughput, idle CPU and memory, beside the same work through LitServe.

Ours is `tonewheel serve` with durable jobs (SQLite, synchronous FULL), one worker and the built-in composer; theirs
is a LitServe server whose `predict` calls the very same composer in one worker process: no queue that survives, no
progress, no files kept. The work is a song of 10 s.

    pip install litserve          # for the other side; without it only ours is shown
    python bench/server.py [--quick] [--json]
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import psutil

from report import Row, arguments, lower_is_better, median, show

ORDER = {"narrative": "An old lighthouse keeper counts the waves.", "style": "folk", "duration_s": 10}
IDLE_S = 8.0
_LITSERVE = """
import sys
import litserve as ls
from tonewheel.audio.write import encode
class Api(ls.LitAPI):
    def setup(self, device):
        from tonewheel.composer.arrange import arrange
        from tonewheel.composer.render import render
        from tonewheel.songs.planner import make_plan
        from tonewheel.songs.request import plan_request
        self.make = lambda order: render(arrange(make_plan(plan_request(**order))))
    def decode_request(self, request):
        return request
    def predict(self, order):
        return encode(self.make(order).T, 44100, "mp3")
    def encode_response(self, data):
        return {"bytes": len(data)}
if __name__ == "__main__":
    server = ls.LitServer(Api(), accelerator="cpu", workers_per_device=1, timeout=False)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="error")
"""


def main() -> None:
    args = arguments(__doc__)
    count = 6 if args.quick else 30
    ours = _ours(count)
    theirs = _theirs(count) if find_spec("litserve") else {}
    rows = [
        lower_is_better("submit: request to 202, median", ours["submit_ms"], None, "ms"),
        lower_is_better("submit to start, idle server, median", ours["start_ms"], None, "ms"),
        lower_is_better("event: written to received, median", ours["event_ms"], None, "ms"),
        lower_is_better("one song of 10 s, submit to answer, median", ours["song_ms"], theirs.get("song_ms"), "ms"),
        Row(f"{count} songs at once, songs/s", round(ours["rate"], 2), _rounded(theirs.get("rate")), "1/s",
            round(ours["rate"] / theirs["rate"], 2) if theirs else None),
        lower_is_better("idle CPU of all processes", ours["idle"], theirs.get("idle"), "% core"),
        lower_is_better("memory of all processes, loaded", ours["memory_mb"], theirs.get("memory_mb"), "MB"),
        lower_is_better("memory of gateway and worker", ours["own_mb"], None, "MB"),
    ]  # fmt: skip
    notes = ["Theirs: LitServe, one worker, the same composer in predict; nothing kept, nothing durable."]
    show(rows, args.json, notes if theirs else ["LitServe is not installed: pip install litserve"])


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _ours(count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as data, _running(_serve_command(Path(data))) as (child, port):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
            _until_answers(client, "/readyz")
            _followed(client)  # the first starts the model
            single = [_followed(client) for _ in range(max(5, count // 3))]
            begin = time.perf_counter()
            jobs = [_submit(client)[0] for _ in range(count)]
            for job in jobs:
                _wait(client, job)
            rate = count / (time.perf_counter() - begin)
        family = _family(child)
        own = [p for p in family if any(w in " ".join(p.cmdline()) for w in ("tonewheel.gateway", "main worker"))]
        return {
            **{name: median([s[name] for s in single]) for name in single[0]},
            "rate": rate,
            "idle": _idle_percent(family),
            "memory_mb": sum(p.memory_info().rss for p in family) / 2**20,
            "own_mb": sum(p.memory_info().rss for p in own) / 2**20,
        }


def _serve_command(data: Path) -> list[str]:
    return [sys.executable, "-m", "tonewheel.cli.main", "serve", "--port", "{port}", "--data-dir", str(data)]


def _submit(client: httpx.Client) -> tuple[str, float]:
    begin = time.perf_counter()
    answer = client.post("/v1/songs", json=ORDER)
    answer.raise_for_status()
    return str(answer.json()["id"]), 1000 * (time.perf_counter() - begin)


def _followed(client: httpx.Client) -> dict[str, float]:
    """One song, followed by its events."""
    begin = time.perf_counter()
    job, submit_ms = _submit(client)
    at: dict[str, float] = {}
    late: list[float] = []
    with client.stream("GET", f"/v1/jobs/{job}/events") as lines:
        for event in _events(lines):
            late.append(1000 * (time.time() - event["at"]))
            at.setdefault(event["type"], event["at"])
    if "done" not in at:
        raise SystemExit(f"the job {job} did not end well: {sorted(at)}")
    return {
        "submit_ms": submit_ms,
        "start_ms": 1000 * (at["started"] - at["queued"]),
        "event_ms": median(late[1:]),
        "song_ms": 1000 * (time.perf_counter() - begin),
    }


def _events(lines: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in lines.iter_lines():
        if line.startswith("data:"):
            yield json.loads(line[5:])


def _wait(client: httpx.Client, job: str) -> None:
    while (state := client.get(f"/v1/jobs/{job}").json()["state"]) in ("queued", "running"):
        time.sleep(0.05)
    if state != "done":
        raise SystemExit(f"the job {job} ended as {state}")


def _theirs(count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "lit.py"
        program.write_text(_LITSERVE)
        with _running([sys.executable, str(program), "{port}"]) as (child, port):
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300) as client:
                _until_answers(client, "/health")

                def one(_: int = 0) -> float:
                    begin = time.perf_counter()
                    client.post("/predict", json=ORDER).raise_for_status()
                    return 1000 * (time.perf_counter() - begin)

                one()
                single = [one() for _ in range(max(5, count // 3))]
                begin = time.perf_counter()
                with ThreadPoolExecutor(count) as pool:
                    list(pool.map(one, range(count)))
                rate = count / (time.perf_counter() - begin)
            family = _family(child)
            return {
                "song_ms": median(single),
                "rate": rate,
                "idle": _idle_percent(family),
                "memory_mb": sum(p.memory_info().rss for p in family) / 2**20,
            }


@contextmanager
def _running(command: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    filled = [word.replace("{port}", str(port)) for word in command]
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(filled, stdout=log, stderr=log, start_new_session=True)
        try:
            yield child, port
        except Exception:
            log.seek(0)
            sys.stderr.write(log.read()[-3000:].decode(errors="replace"))
            raise
        finally:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)


def _until_answers(client: httpx.Client, path: str, limit_s: float = 120) -> None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        try:
            if client.get(path).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"no answer from {path} within {limit_s:.0f} s")


def _family(child: subprocess.Popen[bytes]) -> list[psutil.Process]:
    root = psutil.Process(child.pid)
    return [root, *root.children(recursive=True)]


def _idle_percent(family: list[psutil.Process]) -> float:
    """CPU seconds of all processes over a quiet while, in % of one core."""

    def used() -> float:
        return sum(t.user + t.system for p in family if p.is_running() for t in (p.cpu_times(),))

    time.sleep(2.0)
    before, begin = used(), time.perf_counter()
    time.sleep(IDLE_S)
    return 100 * (used() - before) / (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
