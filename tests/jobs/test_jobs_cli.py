"""`tonewheel jobs` and what a user sees of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from job_house import House

Tonewheel = Callable[..., Any]


@pytest.fixture
def jobs(sqlite_house: House, tonewheel: Tonewheel) -> Tonewheel:
    return lambda command, *more: tonewheel("jobs", command, *more, "--database", sqlite_house.url)


def test_jobs_are_listed_shown_and_cancelled(sqlite_house: House, jobs: Tonewheel) -> None:
    first, second = sqlite_house.order("a=1", title="The [bold] one"), sqlite_house.order("b=2")
    listed = jobs("list")
    assert listed.code == 0
    assert listed.out.index(second.id) < listed.out.index(first.id)
    assert "The [bold] one" in listed.out
    assert "queued (1)" in listed.out
    cancelled = jobs("cancel", first.id)
    assert (cancelled.code, cancelled.out.split()) == (0, [first.id, "cancelled"])
    shown = jobs("show", first.id)
    assert "cancelled" in shown.out
    told = json.loads(jobs("show", first.id, "--json").out)
    assert told["state"] == "cancelled"
    assert [e["type"] for e in told["events"]] == ["queued", "cancelled"]
    page = json.loads(jobs("list", "--state", "queued", "--json").out)
    assert [j["id"] for j in page["jobs"]] == [second.id]


def test_watching_ends_with_the_job_and_tells_how_by_its_exit_code(sqlite_house: House, jobs: Tonewheel) -> None:
    job = sqlite_house.order()
    sqlite_house.store.cancel(job.id)
    watched = jobs("watch", job.id, "--json")
    assert watched.code == 1
    assert [json.loads(line)["type"] for line in watched.out.splitlines()] == ["queued", "cancelled"]
    done = sqlite_house.order()
    sqlite_house.worker()
    watched = jobs("watch", done.id)
    assert watched.code == 0
    assert "done" in watched.out


def test_a_job_or_a_database_that_is_not_there_is_one_line(
    sqlite_house: House, jobs: Tonewheel, tonewheel: Tonewheel
) -> None:
    for command in ("show", "watch", "cancel"):
        ran = jobs(command, "job_nonsense")
        assert ran.code != 0
        assert ran.err.startswith("tonewheel: there is no job")
        assert len(ran.err.splitlines()) == 1
    nowhere = tonewheel("jobs", "list", "--data-dir", "nowhere")
    assert nowhere.code != 0
    assert "there is no database" in nowhere.err
    assert not (sqlite_house.folder / "nowhere").exists()


def test_looking_for_help_loads_no_engine(tonewheel: Tonewheel) -> None:
    import subprocess
    import sys

    code = (
        "import sys\nfrom tonewheel.cli.app import app\n"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('dbos','sqlalchemy','numpy','psycopg')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
