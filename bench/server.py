"""The server's own cost: latencies, throughput, idle CPU and memory, beside the same work through LitServe.

Ours is `tonewheel serve` with durable jobs (SQLite, synchronous FULL), one worker and the built-in composer; theirs
is a LitServe server whose `predict` calls the very same composer in one worker process: no queue that survives, no
progress, no files kept. The work is a song of 10 s. Both run all the time and are asked in turns, so that whatever
else the machine does meets both; idle CPU and memory are read of both at once.

    pip install litserve          # for the other side; without it only ours is shown
    python bench/server.py [--quick] [--json] [--songs N]
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import psutil

from report import Row, arguments, lower_is_better, median, show
from servers import Server, serving

ORDER = {"narrative": "An old lighthouse keeper counts the waves.", "style": "folk", "duration_s": 10}
IDLE_S = 10.0
QUIET_S = 3.0
_ROUNDS = 3
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


@dataclass
class Side:
    """What was measured of one server."""

    root: psutil.Process
    song_ms: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)  # songs/s of each round
    memory_mb: float = 0.0  # of all processes

    def family(self) -> list[psutil.Process]:
        return [self.root, *self.root.children(recursive=True)]

    def cpu_s(self) -> float:
        return sum(t.user + t.system for p in self.family() for t in (p.cpu_times(),))


def main() -> None:
    args = arguments(__doc__, _options)
    count = args.songs or (6 if args.quick else 60)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        server = stack.enter_context(serving(Path(folder)))
        theirs = stack.enter_context(_litserve(Path(folder))) if find_spec("litserve") else None
        rows = _measured(server, theirs, count)
    notes = ["Theirs: LitServe, one worker, the same composer in predict; nothing kept, nothing durable."]
    show(rows, args.json, notes if theirs else ["LitServe is not installed: pip install litserve"])


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--songs", type=int, default=0, help="songs ordered at once, in three rounds (6 or 60)")


def _measured(server: Server, lit: tuple[Side, httpx.Client] | None, count: int) -> list[Row]:
    ours, own_fresh_mb = Side(psutil.Process(server.process.pid)), _own_mb(server)
    theirs = lit[0] if lit else None
    _followed(server.client)  # the first starts the model
    told: list[dict[str, float]] = []
    for n in range(max(6, count // 3) + 1):
        if lit:
            ms = _predict(lit[1])
            lit[0].song_ms += [ms] if n else []  # the first is a warm-up
        told.append(_followed(server.client))
        ours.song_ms.append(told[-1]["song_ms"])
    for _ in range(_ROUNDS):
        some = max(1, count // _ROUNDS)
        ours.rates.append(_all_ours(server, some))
        if lit:
            lit[0].rates.append(_all_theirs(lit[1], some))
    sides = [ours] + ([theirs] if theirs else [])
    for side in sides:
        side.memory_mb = _mb(side.family())
    done = server.client.get("/v1/songs?limit=1").json()["total"]
    own_mb = _own_mb(server)
    idle = _idle_percent(sides)
    better_rate = round(median(ours.rates) / median(theirs.rates), 2) if theirs else None
    return [
        lower_is_better("submit: request to 202, median", _of(told, "submit_ms"), None, "ms"),
        lower_is_better("submit to start, idle server, median", _of(told, "start_ms"), None, "ms"),
        lower_is_better("event: written to received, median", _of(told, "event_ms"), None, "ms"),
        lower_is_better("one song of 10 s, submit to answer, median", median(ours.song_ms),
                        median(theirs.song_ms) if theirs else None, "ms"),
        Row(f"{count} songs in {_ROUNDS} rounds, songs/s, median", round(median(ours.rates), 2),
            round(median(theirs.rates), 2) if theirs else None, "1/s", better_rate),
        lower_is_better("idle CPU of all processes", idle[0], idle[1] if theirs else None, "% core"),
        lower_is_better(f"memory of all processes after {done} songs", ours.memory_mb,
                        theirs.memory_mb if theirs else None, "MB"),
        lower_is_better("memory of gateway and worker, fresh", own_fresh_mb, None, "MB"),
        lower_is_better(f"memory of gateway and worker after {done} songs", own_mb, None, "MB"),
    ]  # fmt: skip


def _of(told: list[dict[str, float]], name: str) -> float:
    return median([one[name] for one in told])


# ── ours ──


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
    with client.stream("GET", f"/v1/jobs/{job}/events", timeout=300) as lines:
        for event in _events(lines):
            late.append(1000 * (time.time() - event["at"]))
            at.setdefault(event["type"], event["at"])
    if "done" not in at:
        raise SystemExit(f"the job {job} did not end well: {sorted(at)}")
    return {
        "submit_ms": submit_ms,
        "start_ms": 1000 * (at["started"] - at["queued"]),
        "event_ms": median(late[1:]),  # the first was written before anybody followed
        "song_ms": 1000 * (time.perf_counter() - begin),
    }


def _events(lines: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in lines.iter_lines():
        if line.startswith("data:"):
            yield json.loads(line[5:])


def _all_ours(server: Server, count: int) -> float:
    """Songs a second, all ordered at once."""
    begin = time.perf_counter()
    for job in [_submit(server.client)[0] for _ in range(count)]:
        ended = server.wait(job, limit_s=3600)
        if ended["state"] != "done":
            raise SystemExit(f"the job {job} ended as {ended['state']}: {ended['error']}")
    return count / (time.perf_counter() - begin)


def _own_mb(server: Server) -> float:
    return _mb([server.gateway(), server.worker()])


# ── theirs ──


@contextmanager
def _litserve(folder: Path) -> Iterator[tuple[Side, httpx.Client]]:
    program, log = folder / "lit.py", folder / "lit.log"
    program.write_text(_LITSERVE)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with log.open("wb") as out:
        command = [sys.executable, str(program), str(port)]
        child = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    side = Side(psutil.Process(child.pid))
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=3600) as client:
            _until_answers(client, log)
            yield side, client
    finally:
        family = side.family()
        child.send_signal(signal.SIGTERM)
        for process in psutil.wait_procs(family, timeout=30)[1]:
            process.kill()


def _until_answers(client: httpx.Client, log: Path, limit_s: float = 120) -> None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        try:
            if client.get("/health").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"LitServe did not answer within {limit_s:.0f} s\n{log.read_text()[-3000:]}")


def _predict(client: httpx.Client) -> float:
    begin = time.perf_counter()
    client.post("/predict", json=ORDER).raise_for_status()
    return 1000 * (time.perf_counter() - begin)


def _all_theirs(client: httpx.Client, count: int) -> float:
    begin = time.perf_counter()
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(lambda _: _predict(client), range(count)))
    return count / (time.perf_counter() - begin)


# ── both ──


def _mb(processes: list[psutil.Process]) -> float:
    return sum(float(p.memory_info().rss) for p in processes) / 2**20


def _idle_percent(sides: list[Side]) -> list[float]:
    """CPU seconds of all processes over a quiet while, in % of one core."""
    time.sleep(QUIET_S)
    before, begin = [side.cpu_s() for side in sides], time.perf_counter()
    time.sleep(IDLE_S)
    took = time.perf_counter() - begin
    return [100 * (side.cpu_s() - was) / took for side, was in zip(sides, before, strict=True)]


if __name__ == "__main__":
    main()
