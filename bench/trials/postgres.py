"""Two workers on one PostgreSQL: killed processes, a host that never returns, a server restarted under load."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import psutil

from servers import Server, serving, until_ready, worker_beside
from trials.common import Trial
from trials.kills import killed_in_render

_TESTS = Path(__file__).parents[2] / "tests"
sys.path += [str(_TESTS), str(_TESTS / "jobs")]
Postgres: Any = import_module("postgres_server").Postgres  # the one that the tests start, too

_DEAD_AFTER_S = "5"  # s; on a machine that is full a worker may be late by seconds
_SETTINGS = {"TONEWHEEL_WORKER_DEAD_AFTER_S": _DEAD_AFTER_S}
_AWAY_S = 12.0  # more than the gateway waits
_ASKING = 4


def run(trial: Trial) -> None:
    home = trial.folder / "postgres"
    home.mkdir()
    trial.folder.chmod(0o755)  # PostgreSQL runs as its own user and reads through it
    database = Postgres(home)
    try:
        _killed(trial, database)
        _never_back(trial, database)
        for mode in ("fast", "immediate"):
            _restarted(trial, database, mode)
    finally:
        database.stop()


@dataclass
class Hosts:
    """A gateway and two workers, each with a data directory of its own."""

    server: Server
    workers: list[psutil.Process]


@contextmanager
def hosts(trial: Trial, database: Postgres, name: str) -> Iterator[Hosts]:
    folder, url = trial.folder / name, database.new_database()
    storage = folder / "storage"
    with ExitStack() as stack:
        start = serving(
            folder, "--workers", "0", database=url, settings={**_SETTINGS, "TONEWHEEL_STORAGE_URL": storage.as_uri()},
        )  # fmt: skip
        server = stack.enter_context(start)
        workers = [
            stack.enter_context(worker_beside(server, folder / f"host{n}", storage, settings=_SETTINGS)) for n in (1, 2)
        ]
        until_ready(server)
        yield Hosts(server, workers)


def _killed(trial: Trial, database: Postgres) -> None:
    """The gateway and a model's process of two hosts, killed in the middle of a render."""
    times = 2 if trial.quick else 10
    with hosts(trial, database, "killed") as house:
        server = house.server

        def rendering_model() -> psutil.Process:
            return max(
                _models(house.workers), key=lambda p: sum(p.cpu_times()[:2]) / max(0.1, time.time() - p.create_time())
            )

        for name, victim in {"gateway": server.gateway, "model process": rendering_model}.items():
            kept = sum(
                trial.judge(f"PostgreSQL, {name} killed, {n + 1}", killed_in_render(server, victim, seed=n))
                for n in range(times)
            )
            trial.count(f"PostgreSQL, {name} killed in a render: done once, no step repeated", kept, times)


def _models(workers: list[psutil.Process]) -> list[psutil.Process]:
    tree = [p for w in workers if w.is_running() for p in w.children(recursive=True)]
    return [p for p in tree if "tonewheel.serving" in p.cmdline()]


def _never_back(trial: Trial, database: Postgres) -> None:
    """One of two workers is killed in the middle of a render and not started again."""
    times = 2 if trial.quick else 10
    kept = 0
    waited: list[float] = []
    for n in range(times):
        with hosts(trial, database, f"never{n}") as house:
            server = house.server
            jobs = [server.order(duration_s=45, seed=n * 10 + i) for i in range(4)]
            for job_id in jobs[:2]:  # one on each host
                server.rendering(job_id, past=0.06)
            steps = {job_id: server.kept_steps(job_id) for job_id in jobs}
            dead = house.workers[n % 2]
            then = server.mark()
            dead.kill()
            killed_at = time.time()
            faults = [f"{j}: {fault}" for j in jobs for fault in server.faults(j)]
            moved = {j: at - killed_at for j in jobs if (at := _given_back(server, j))}
            if len(moved) != 1:
                faults.append(f"{moved} jobs were on the host that died\n{server.last_words()}")
            waited += moved.values()
            for job_id in jobs:
                again = steps[job_id].intersection(server.steps_begun(job_id, then))
                faults += [f"{step} of {job_id} was kept and is done again" for step in again]
            kept += trial.judge(f"PostgreSQL, host lost, {n + 1}", faults)
    trial.count("PostgreSQL, one of two workers killed for good: all 4 jobs done once", kept, times)
    trial.measured(
        f"… its job is taken from it after, longest (limit set to {_DEAD_AFTER_S} s)", max(waited, default=0.0), "s"
    )


def _given_back(server: Server, job_id: str) -> float | None:
    """When a job was taken from its dead worker, seconds since 1970; None = never."""
    told = server.client.get(f"/v1/jobs/{job_id}/events").text
    events = [json.loads(line[5:]) for line in told.splitlines() if line.startswith("data:")]
    return next((float(e["at"]) for e in events if e["type"] == "requeued"), None)


@dataclass
class Asking:
    """Somebody who asks the gateway all the time, and notes what is answered."""

    server: Server
    statuses: Counter[str] = field(default_factory=Counter)
    without_retry_after: int = 0
    accepted: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, number: int) -> None:
        with httpx.Client(base_url=self.server.url, timeout=30) as client:
            known = self.accepted[0]
            for n in range(number, 100_000):
                if self.stop.is_set():
                    return
                begin = time.monotonic()
                if n % 20 == 0:
                    answer = client.post(
                        "/v1/songs", json={"narrative": "Rain.", "duration_s": 10, "seed": n, "style": "folk"}
                    )
                else:
                    path = (f"/v1/jobs/{known}", "/v1/jobs?limit=5", "/v1/songs?limit=5", "/readyz", "/livez")[n % 5]
                    answer = client.get(path)
                self.slowest_s = max(self.slowest_s, time.monotonic() - begin)
                self.statuses[str(answer.status_code)] += 1
                if answer.status_code == 202:
                    self.accepted.append(answer.json()["id"])
                if answer.status_code == 503 and "retry-after" not in answer.headers:
                    self.without_retry_after += 1
                if answer.status_code >= 500 and answer.status_code != 503:
                    self.statuses[f"{answer.status_code} {answer.text[:200]}"] += 1
                time.sleep(0.05)


def _restarted(trial: Trial, database: Postgres, mode: str) -> None:
    """PostgreSQL is stopped and started while songs are rendered and ordered."""
    times = 1 if trial.quick else 3
    kept = 0
    for n in range(times):
        with hosts(trial, database, f"restart-{mode}-{n}") as house:
            server = house.server
            jobs = [server.order(duration_s=45, seed=i) for i in range(4)]
            for job_id in jobs[:2]:
                server.rendering(job_id, past=0.06)
            asking = Asking(server, accepted=[*jobs])
            threads = [threading.Thread(target=asking.run, args=(i,)) for i in range(_ASKING)]
            for thread in threads:
                thread.start()
            time.sleep(1.0)
            steps = {job_id: server.kept_steps(job_id) for job_id in jobs}
            then = server.mark()
            database.stop(mode)
            time.sleep(_AWAY_S)
            database.start()
            until_ready(server)
            time.sleep(1.0)
            asking.stop.set()
            for thread in threads:
                thread.join()
            faults = [f"{j}: {fault}" for j in asking.accepted for fault in server.faults(j)]
            for job_id in jobs:
                again = steps[job_id].intersection(server.steps_begun(job_id, then))
                faults += [f"{step} of {job_id} was kept and is done again" for step in again]
            faults += [f"answered {s}" for s in asking.statuses if s.startswith("5") and s != "503"]
            if asking.without_retry_after:
                faults.append(f"{asking.without_retry_after} of the 503 were without Retry-After")
            if not asking.statuses["503"]:
                faults.append("no request met the outage: this trial proves nothing")
            told = ", ".join(f"{many} x {status}" for status, many in asking.statuses.items())
            trial.say(f"{mode} {n + 1}: {told}; slowest {asking.slowest_s:.1f} s, {len(asking.accepted)} jobs")
            kept += trial.judge(f"PostgreSQL restarted ({mode}), {n + 1}", faults)
    trial.count(f"PostgreSQL restarted ({mode}) under load: nothing lost or doubled, 503 meanwhile", kept, times)
