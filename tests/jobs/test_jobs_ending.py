"""Beginnings and ends of processes: side by side, when told, when nobody is left to talk to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import sqlalchemy as sa
from postgres_server import Postgres

from tonewheel.jobs.opening import open_jobs
from tonewheel.jobs.tables import workers
from tonewheel.settings import Settings


def test_an_idle_worker_ends_when_told_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tonewheel.cli.main", "worker", "--json"]
    environment = os.environ | {"TONEWHEEL_DATA_DIR": str(tmp_path)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    about = json.loads(process.stdout.readline())
    process.terminate()
    _, told = process.communicate(timeout=180)
    assert process.returncode == 0, told
    assert f"worker {about['worker']} has ended" in told and "Traceback" not in told
    store, _ = open_jobs(Settings(data_dir=tmp_path))
    assert store.database.read(lambda c: c.scalar(sa.select(sa.func.count()).select_from(workers))) == 0
    store.database.close()
    assert not list((tmp_path / "scratch").iterdir())


def test_a_helper_with_nobody_to_answer_ends_without_a_word() -> None:
    """Its worker was killed: what it says goes nowhere, perhaps before it has seen the end of its input."""
    command = [sys.executable, "-m", "tonewheel.jobs.child"]
    helper = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert helper.stdin is not None and helper.stdout is not None and helper.stderr is not None
    helper.stdout.close()
    helper.stdin.write('{"task": "plan", "args": {"request": {"narrative": "A lamp above the sea"}}}\n')
    helper.stdin.flush()
    assert helper.wait(180) == 0
    assert helper.stderr.read() == ""
    helper.stdin.close()
    helper.stderr.close()


def test_half_a_task_of_a_worker_that_was_killed_while_it_wrote_is_no_task() -> None:
    command = [sys.executable, "-m", "tonewheel.jobs.child"]
    ran = subprocess.run(
        command, input='{"task": "plan", "ar', capture_output=True, text=True, timeout=180, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_two_workers_may_begin_at_once_on_an_empty_database(tmp_path: Path, postgres: Postgres) -> None:
    """Both make the tables; neither waits for the other in a way the other waits for."""
    command = [sys.executable, "-m", "tonewheel.cli.main", "worker", "--json", "--database", postgres.new_database()]
    both = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"TONEWHEEL_DATA_DIR": str(tmp_path / name)},
        )
        for name in ("one", "two")
    ]  # fmt: skip
    ready = [process.stdout.readline() for process in both if process.stdout is not None]
    for process in both:
        process.terminate()
    told = [process.communicate(timeout=180)[1] for process in both]
    assert all(ready) and [process.returncode for process in both] == [0, 0], told


def test_a_helper_tells_a_fault_and_goes_on() -> None:
    command = [sys.executable, "-m", "tonewheel.jobs.child"]
    helper = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert helper.stdin is not None and helper.stdout is not None
    for task in ("no such task", "plan"):
        args = {"request": {"narrative": "A lamp above the sea"}}
        helper.stdin.write(json.dumps({"task": task, "args": args}) + "\n")
        helper.stdin.flush()
        said = json.loads(helper.stdout.readline())
        assert ("error" in said) == (task != "plan"), said
    helper.stdin.close()
    assert helper.wait(180) == 0
    helper.stdout.close()
