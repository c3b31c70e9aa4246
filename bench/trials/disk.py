"""A full disk: a small tmpfs holds database, storage and scratch of a server."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from servers import ENDED, Server, serving, until_ready
from trials.common import Trial

Way = Callable[[Server, Path], list[str]]
_SIZE_MB = 96
_ORDER = {"narrative": "Rain on a tin roof.", "duration_s": 10, "style": "folk"}


def run(trial: Trial) -> None:
    if os.geteuid() != 0:
        trial.say("disk: left out, mounting a small disk needs root")
        return
    times = 1 if trial.quick else 3
    ways: dict[str, tuple[Way, str]] = {  # and the reserve that is kept, in MB
        "before an order: 507 disk_full, work goes on when there is room": (before_an_order, "5"),
        "in the middle of a render: the job ends with disk_full, work goes on": (in_a_render, "5"),
        "to the last byte in a render: nothing lost, work goes on": (to_the_last_byte, "5"),
        "in SQLite's own write, then kill -9 of gateway and worker: nothing lost": (in_sqlite, "0"),
    }
    for name, (way, reserve) in ways.items():
        with (
            _small_disk(trial.folder / "disk") as disk,
            serving(trial.folder, data_dir=disk / "data", settings={"TONEWHEEL_MIN_FREE_MB": reserve}) as server,
        ):
            server.wait(server.order())
            kept = sum(trial.judge(f"disk full {name}, {n + 1}", way(server, disk)) for n in range(times))
            trial.count(f"disk full {name}", kept, times)


def before_an_order(server: Server, disk: Path) -> list[str]:
    with _ballast(disk, leave=4_000_000):
        answer = server.client.post("/v1/songs", json=_ORDER)
        faults = _not_disk_full(answer)
        if server.client.get("/v1/jobs").status_code != 200:
            faults.append("jobs cannot be listed while the disk is full")
    return faults + server.faults(server.order())


def in_a_render(server: Server, disk: Path) -> list[str]:
    """Room for the database and none for the sound."""
    job_id, waiting = server.order(duration_s=45, seed=time.time_ns() % 1000), server.order()
    server.rendering(job_id, past=0.06)
    with _ballast(disk, leave=500_000):
        job = server.wait(job_id)
        faults = []
        if job["state"] != "failed" or job["error"]["type"] != "disk_full" or "free" not in job["error"]["message"]:
            faults.append(f"it ended as {job['state']}: {job['error']}")
        other = server.wait(waiting)
        if other["state"] != "failed" or other["error"]["type"] != "disk_full":
            faults.append(f"the next one ended as {other['state']}: {other['error']}")
    return faults + server.faults(server.order(duration_s=45))


def to_the_last_byte(server: Server, disk: Path) -> list[str]:
    """Not even the error can be written down."""
    job_id, waiting = server.order(duration_s=45, seed=time.time_ns() % 1000), server.order()
    server.rendering(job_id, past=0.06)
    with _ballast(disk, leave=0):
        time.sleep(8.0)  # the render ends meanwhile
        faults = _not_disk_full(server.client.post("/v1/songs", json=_ORDER))
        if (state := server.job(job_id)["state"]) not in ("running", "queued", "failed"):
            faults.append(f"it is {state} on a full disk")
    ended = [server.wait(j) for j in (job_id, waiting)]
    for job in ended:
        if job["state"] == "done":
            faults += server.faults(job["id"])
        elif job["error"]["type"] != "disk_full":
            faults.append(f"it ended as {job['state']}: {job['error']}")
    return faults + server.faults(server.order(duration_s=45))


def in_sqlite(server: Server, disk: Path) -> list[str]:
    """No reserve is kept: orders are written until the database is full; then everything is killed."""
    accepted: list[str] = []
    with _ballast(disk, leave=300_000):
        answers = []
        for n in range(200):
            answer = server.client.post("/v1/songs", json=_ORDER | {"narrative": "x " * 1500, "seed": n})
            answers.append(answer.status_code)
            if answer.status_code == 202:
                accepted.append(answer.json()["id"])
            if answers.count(507) >= 3:
                break
        faults = [f"an order was answered {code}" for code in set(answers) - {202, 507}]
        if 507 not in answers:
            faults.append("the database was never full: this trial proves nothing")
        for process in (server.gateway(), server.worker()):
            process.kill()
        time.sleep(3.0)
    until_ready(server)
    states = {j: server.wait(j, limit_s=1200) for j in accepted}
    for job_id, job in states.items():
        if job["state"] not in ENDED or (job["state"] != "done" and job["error"]["type"] != "disk_full"):
            faults.append(f"{job_id} ended as {job['state']}: {job['error']}")
    return faults + server.faults(server.order())


def _not_disk_full(answer: httpx.Response) -> list[str]:
    with suppress(ValueError, KeyError):
        if answer.status_code == 507 and answer.json()["detail"]["type"] == "disk_full":
            return []
    return [f"an order on the full disk was answered {answer.status_code}: {answer.text[:200]}"]


@contextmanager
def _ballast(disk: Path, leave: int) -> Iterator[None]:
    """Fill the disk until `leave` bytes are free."""
    path = disk / "ballast"
    with path.open("wb", buffering=0) as f:
        room = os.statvfs(disk)
        for size in (1 << 16, 1 << 12):
            with suppress(OSError):
                while (room := os.statvfs(disk)).f_bavail * room.f_frsize >= leave + size:
                    f.write(b"\0" * size)
    try:
        yield
    finally:
        path.unlink()


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SIZE_MB}m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
