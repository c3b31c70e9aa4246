"""Processes die; what was accepted is done, once. Real servers, real kills."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from served import NARRATIVE, Served, command, serving

from freezing import freeze, thaw

Cli = Callable[..., Any]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")


def _called(name: str, served: Served, *, recursive: bool = False) -> list[int]:
    """Its processes that have `name` in their command."""
    found = []
    for process in psutil.Process(served.process.pid).children(recursive=recursive):
        with suppress(psutil.NoSuchProcess):  # one that has just ended
            if name in process.cmdline():
                found.append(process.pid)
    return found


def gateway_of(served: Served) -> int:
    (gateway,) = _called("tonewheel.gateway", served)
    return gateway


def workers_of(served: Served) -> list[int]:
    return _called("worker", served)


def _alive(served: Served) -> int:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            return httpx.get(f"{served.url}/livez", timeout=120).status_code
        except (
            httpx.ReadError,
            httpx.WriteError,
            httpx.RemoteProtocolError,
        ):  # it reached the old one while that was dying
            time.sleep(0.02)
    return 0


def frozen_at_work(served: Served) -> tuple[dict[str, object], int]:
    """A job that runs, and the process of its worker, stopped in the middle of it: however quick that is."""
    for seed in range(10):
        job = served.order(duration_s=30, seed=seed)
        served.wait(job, lambda j: j["state"] != "queued")
        (worker,) = workers_of(served)
        freeze(worker)
        if served.job(job)["state"] == "running":
            return job, worker
        thaw(worker)
    raise AssertionError("the jobs end before they are seen to run")


def steps_of(served: Served, job: dict[str, object]) -> list[str]:
    """The steps of a job as they were begun, by the log: a step done twice is there twice."""
    return re.findall(rf"job {job['id']}: (\w+)$", (served.data_dir / "log").read_text(), re.MULTILINE)


def frozen_in_render(served: Served) -> tuple[dict[str, object], int]:
    """A job in its render, or at the very end of it, and the process of its model, stopped: however quick that is."""
    (model,) = _called("tonewheel.serving", served, recursive=True)
    for seed in range(10):
        job = served.order(duration_s=60, seed=seed)
        served.wait(job, lambda j, job=job: j["state"] != "queued" and "render" in steps_of(served, job))  # type: ignore[misc]
        freeze(model)
        if steps_of(served, job)[-1] == "render":
            return job, model
        thaw(model)
        served.wait(job)
    raise AssertionError("the renders end before they are seen to begin")


def once(served: Served, job: dict[str, object]) -> None:
    """The job ended done: one song, one end, and its events are without gaps."""
    done = served.wait(job)
    assert done["state"] == "done", done
    told = served.client.get(f"/v1/jobs/{job['id']}/events").text
    kinds = re.findall(r"^event: (\w+)$", told, re.MULTILINE)
    numbers = [int(n) for n in re.findall(r"^id: (\d+)$", told, re.MULTILINE)]
    assert kinds.count("done") == 1 and kinds[-1] == "done"
    assert numbers == list(range(1, len(numbers) + 1))
    songs = served.client.get("/v1/songs").json()["songs"]
    assert [s["job_id"] for s in songs].count(job["id"]) == 1
    assert served.client.get(served.client.get(done["song_url"]).json()["audio_url"]).status_code == 200


def test_jobs_outlive_the_gateway_and_the_worker(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        job = served.order(duration_s=20, seed=1)
        served.wait(job, lambda j: j["state"] != "queued")
        before = gateway_of(served)
        os.kill(before, signal.SIGKILL)
        # The listening socket is held by the parent: a new connection waits for the new gateway, it is not refused.
        served.client = httpx.Client(base_url=served.url, timeout=120)
        assert _alive(served) == 200
        assert gateway_of(served) != before
        once(served, job)
        assert served.job(job["id"])["attempts"] == 1  # the gateway's death was none of the worker's business

        job, worker = frozen_at_work(served)
        os.kill(worker, signal.SIGKILL)
        once(served, job)
        assert served.job(job)["attempts"] == 2
        assert workers_of(served) != [worker]
        log = (tmp_path / "log").read_text()
        assert "worker 1 ended (signal 9)" in log and "gateway ended (signal 9)" in log


def test_a_killed_model_process_is_started_again_and_no_finished_step_is_repeated(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        for _ in range(10):
            served.wait(served.order())  # from here on the model runs
            job, model = frozen_in_render(served)
            os.kill(model, signal.SIGKILL)
            once(served, job)
            assert served.job(job["id"])["attempts"] == 1  # its worker lives
            assert steps_of(served, job) == ["plan", "render", "check", "analyse", "finish", "store"]
            if f"(pid {model}) crashed" in (tmp_path / "log").read_text():
                return  # otherwise its answer was on its way when it was stopped, and nobody missed it
        raise AssertionError("the renders end before they are stopped")


def test_a_power_cut_loses_no_job_and_leaves_no_process(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        job = served.order(duration_s=20)
        served.wait(job, lambda j: j["state"] != "queued")
        family = psutil.Process(served.process.pid).children(recursive=True)
        served.stop()
        _gone, alive = psutil.wait_procs(family, timeout=120)
        assert not alive
    with serving(tmp_path) as served:
        once(served, job)


def test_sigterm_ends_everything_and_gives_running_work_back(tmp_path: Path) -> None:
    with serving(tmp_path, TONEWHEEL_DRAIN_S="0") as served:
        job = served.order(duration_s=600)
        served.wait(job, lambda j: j["state"] == "running")
        with httpx.stream("GET", served.url + job["events_url"], timeout=120) as stream:
            lines = stream.iter_lines()
            next(lines)
            family = psutil.Process(served.process.pid).children(recursive=True)
            served.process.send_signal(signal.SIGTERM)
            list(lines)  # the stream ends by itself, it is not cut off
        assert served.process.wait(timeout=120) == 0
        assert not psutil.wait_procs(family, timeout=120)[1]
    with serving(tmp_path, "--workers", "0") as served:
        assert served.job(job["id"])["state"] == "queued", (tmp_path / "log").read_text()


def test_a_taken_port_is_told_in_one_line(tmp_path: Path) -> None:
    with serving(tmp_path / "a", "--workers", "0") as served:
        port = served.url.rpartition(":")[2]
        ran = command("serve", "--port", port, "--data-dir", str(tmp_path / "b"))
    assert ran.returncode == 2
    assert "is taken" in ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1


def test_a_song_by_the_command_line_through_a_server(server: Served, tonewheel: Cli, tmp_path: Path) -> None:
    target = tmp_path / "n.mp3"
    options = ["--server", server.url, "-d", "10", "--seed", "6", "-o", str(target), "--midi", "--stems", "--plan"]
    asked_at = time.monotonic()
    ran = command("song", NARRATIVE, *options)
    assert ran.returncode == 0, ran.stderr
    told = re.search(r"0:10 in ([0-9.]+) s", " ".join(ran.stderr.split()))
    assert told and 0 < float(told[1]) < time.monotonic() - asked_at, ran.stderr
    assert target.stat().st_size > 50_000
    assert (tmp_path / "n.mid").read_bytes().startswith(b"MThd")
    assert list((tmp_path / "n-stems").glob("*.flac"))
    here = tonewheel("plan", NARRATIVE, "-d", "10", "--seed", "6", "--as", "json").out
    there = command("plan", NARRATIVE, "-d", "10", "--seed", "6", "--as", "json", TONEWHEEL_SERVER=server.url).stdout
    assert here == there
    again = tonewheel("song", NARRATIVE, *options)
    assert again.code == 2 and "exists already" in again.err
    wrong = tonewheel(
        "song", NARRATIVE, "--server", server.url, "--style", "no such style", "-o", str(tmp_path / "x.mp3")
    )
    assert wrong.code == 2 and "no such style" in wrong.err
    nobody = tonewheel("song", NARRATIVE, "--server", "http://127.0.0.1:9", "-o", str(tmp_path / "x.mp3"))
    assert nobody.code == 1 and "cannot be reached" in nobody.err
    assert not (tmp_path / "x.mp3").exists()
