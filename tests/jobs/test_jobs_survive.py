"""What was accepted is done, once, whatever is killed meanwhile. Real processes, real databases."""

from __future__ import annotations

import signal
import time

import pytest
import sqlalchemy as sa
from job_house import THOROUGH, House
from postgres_server import Postgres

from tonewheel.jobs.types import Job


def assert_done_once(house: House, job: Job, attempts: int) -> None:
    """Done, one song, one end in its events, and no finished step done twice."""
    ended = house.ended(job)
    assert ended.state == "done", ended
    assert ended.attempts == attempts
    types = [e.type for e in house.store.events(job.id)]
    assert types.count("done") == 1
    assert types[-1] == "done"
    assert [e.id for e in house.store.events(job.id)] == list(range(1, len(types) + 1))
    song = house.library.of_job(job.id)
    assert song is not None
    assert song.id == ended.song_id
    assert house.marks(job).count("plan") == 1
    assert house.marks(job).count("end") == 1


@pytest.mark.parametrize("_time", range(10 if THOROUGH else 1))
def test_a_worker_killed_while_it_renders_goes_on_where_it_was(any_house: House, _time: int) -> None:
    house = any_house
    worker = house.worker()
    job = house.order("hold=go")
    house.until(lambda: house.held(job))
    worker.kill()
    assert house.store.get(job.id).state == "running"
    house.let_go("go")
    house.worker()
    assert_done_once(house, job, attempts=2)
    assert house.marks(job).count("start") == 2


# Steps of plan, render, check, analyse, finish, store.
@pytest.mark.parametrize("steps_done", [2, 3, 4, 5] if THOROUGH else [2, 5])
def test_a_worker_killed_after_the_render_does_not_render_again(sqlite_house: House, steps_done: int) -> None:
    worker = sqlite_house.worker()
    job = sqlite_house.order("steps=1")
    query = sa.text("SELECT count(*) FROM operation_outputs WHERE workflow_uuid = :id")
    with sqlite_house.store.database.engine.connect() as c:
        until = time.monotonic() + 120
        while c.scalar(query, {"id": job.id}) < steps_done:  # without a pause: the next step may be a short one
            assert time.monotonic() < until
    worker.kill()
    was_done = sqlite_house.store.get(job.id).state == "done"  # the kill may have come a moment too late
    sqlite_house.worker()
    assert_done_once(sqlite_house, job, attempts=1 if was_done else 2)


def test_the_work_of_a_host_that_never_comes_back_moves_on(postgres_house: House) -> None:
    house = postgres_house
    first = house.worker(data_dir="host1")
    jobs = [house.order("hold=go") for _ in range(2)]
    house.until(lambda: house.held(*jobs))
    second = house.worker(data_dir="host2")
    queued = house.order("steps=1")
    first.kill()
    house.let_go("go")
    for job in jobs:
        assert_done_once(house, job, attempts=2)
    assert_done_once(house, queued, attempts=1)
    assert second.running
    house.until(lambda: len(house.store.workers()) == 1)  # the dead worker is off the list


def test_a_worker_that_was_frozen_does_not_double_a_job(any_house: House) -> None:
    house = any_house
    frozen = house.worker(data_dir="host1")
    job = house.order("hold=go")
    house.until(lambda: house.held(job))
    house.freeze(frozen)
    house.worker(data_dir="host2")
    house.until(lambda: house.marks(job).count("held") == 2)
    frozen.signal(signal.SIGCONT)
    house.until(lambda: "cancelled" in house.marks(job))
    house.let_go("go")
    assert_done_once(house, job, attempts=2)
    again = house.order("steps=1")
    house.ended(again)
    assert frozen.running, "it goes on as a worker"
    house.until(lambda: sum(w.alive for w in house.store.workers()) == 2)


def test_a_restart_of_the_database_loses_and_doubles_nothing(postgres_house: House, postgres: Postgres) -> None:
    house = postgres_house
    for number in (1, 2):
        house.worker("--slots", "3", "--dead-after", "30", data_dir=f"host{number}")
    jobs = [house.order("steps=15 step_s=0.1") for _ in range(8)]
    house.until(lambda: all("step1" in house.marks(j) for j in jobs[:6]))
    postgres.restart(away_s=2.5)
    house.until(lambda: _answers(house))
    for job in jobs:
        ended = house.ended(job)
        assert ended.state == "done"
        assert house.marks(job).count("end") == 1
        assert [e.type for e in house.store.events(job.id)].count("done") == 1
    assert all(w.running for w in house.workers)


def _answers(house: House) -> bool:
    try:
        house.store.lanes()
    except Exception:
        return False
    return True


@pytest.mark.timeout(3600 if THOROUGH else 600)
def test_many_jobs_through_several_workers_none_lost_none_doubled(any_house: House) -> None:
    house = any_house
    jobs_count, workers = (500, 4) if THOROUGH else (100, 2)
    for number in range(workers):
        house.worker("--slots", "4" if THOROUGH else "2", "--dead-after", "60", data_dir=f"host{number}")
    jobs = [house.order("steps=1 step_s=0.001") for _ in range(jobs_count)]
    for job in jobs:
        ended = house.ended(job, timeout_s=300)
        assert ended.state == "done"
        assert ended.attempts == 1
    assert all(house.marks(j).count("end") == 1 for j in jobs)
    assert house.library.search(limit=1).total == jobs_count


def test_a_job_that_kills_its_worker_is_set_aside_after_three_starts(sqlite_house: House) -> None:
    house = sqlite_house
    job = house.order("die")
    for _ in range(3):
        worker = house.worker(wait=False)  # it may be dead before it could say that it is ready
        house.until(lambda w=worker: not w.running)  # type: ignore[misc]
    good = house.order("steps=1")
    house.worker()
    ended = house.ended(job)
    assert ended.state == "poisoned"
    assert ended.error is not None
    assert "3 times" in ended.error.message
    assert house.marks(job).count("start") == 3
    assert [j.id for j in house.store.find(state="poisoned").jobs] == [job.id]
    assert house.ended(good).state == "done", "the others go on"


def test_a_drained_worker_finishes_what_runs_and_takes_nothing_new(any_house: House) -> None:
    house = any_house
    worker = house.worker("--slots", "1", "--drain", "300")
    running, queued = house.order("hold=go"), house.order("steps=1")
    house.until(lambda: house.held(running))
    worker.signal(signal.SIGTERM)
    house.until(lambda: worker.says("takes no more"))
    house.let_go("go")
    assert worker.process.wait(120) == 0
    assert house.store.get(running.id).state == "done"
    assert house.store.get(queued.id).state == "queued"
    assert house.store.workers() == []


def test_what_a_drain_has_no_time_for_goes_back_uncounted(any_house: House) -> None:
    house = any_house
    worker = house.worker("--drain", "0.2")
    job = house.order("hold=never")
    house.until(lambda: house.held(job))
    assert worker.end() == 0
    back = house.store.get(job.id)
    assert (back.state, back.attempts) == ("queued", 0)
    assert house.store.events(job.id)[-1].type == "requeued"
    cancelled = house.store.cancel(job.id)
    assert cancelled.state == "cancelled"
