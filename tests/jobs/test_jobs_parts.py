"""The parts of the job house, one by one."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fake_renderer import FakePlanner, FakeRenderer
from job_house import House

from freezing import freeze
from tonewheel.errors import InvalidRequest, UnknownName
from tonewheel.jobs import upkeep as upkeep_module
from tonewheel.jobs.beats import Beats
from tonewheel.jobs.children import Children, Crashed
from tonewheel.jobs.engine import Interrupted
from tonewheel.jobs.estimate import Rate, finish_times, left_of_running
from tonewheel.jobs.feed import Feed
from tonewheel.jobs.identity import Identity
from tonewheel.jobs.records import Records
from tonewheel.jobs.request import song_request
from tonewheel.jobs.store import render_deadline_s
from tonewheel.jobs.tables import jobs, workers
from tonewheel.jobs.types import JobError, JobEvent
from tonewheel.jobs.worker import Worker, WorkerSettings
from tonewheel.library.database import Database

# ── requests ──


def test_a_plan_says_it_all() -> None:
    from tonewheel.songs import make_plan, plan_request

    plan = make_plan(plan_request(narrative="rain", duration_s=20, seed=3))
    assert song_request(plan=plan.to_dict()).length_s == 20
    for more in ({"narrative": "x"}, {"seed": 4}, {"tempo": 90}, {"instrumental": True}, {"prompt": "x"}):
        with pytest.raises(InvalidRequest, match="a plan says it all"):
            song_request(plan=plan.to_dict(), **more)


@pytest.mark.parametrize(
    "values",
    [
        {}, {"narrative": ""}, {"narrative": "x" * 5000}, {"narrative": "x", "duration_s": 5},
        {"narrative": "x", "format": "exe"}, {"narrative": "x", "model": "../x"}, {"narrative": "x", "nonsense": 1},
        {"narrative": "x", "duration_s": float("nan")}, {"narrative": "x", "seed": -1}, {"narrative": 5},
        {"lyrics": "x", "instrumental": True}, {"prompt": "x", "model": "m", "duration_s": 0.5},
        {"narrative": "x", "keep_alive": "soon"}, {"narrative": "x", "keep_alive": -2},
        {"narrative": "x", "keep_alive": True},
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_refused_before_it_is_accepted(values: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        song_request(**values)
    assert "\n" not in refused.value.message


def test_an_unknown_mood_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownName):
        song_request(narrative="x", moods=["peacefull-ish-nonsense"])


def test_the_deadline_is_five_times_the_song_and_half_a_minute_or_the_setting() -> None:
    assert render_deadline_s(10, 120) == 120
    assert render_deadline_s(60, 120) == 330


# ── estimates ──


def test_waiting_times_follow_slots_and_what_still_runs() -> None:
    rate = Rate(real_time_factor=0.5, overhead_s=1.0)
    assert finish_times(1, [4.0], [6.0, 11.0]) == [10.0, 21.0]
    assert finish_times(2, [4.0], [6.0, 11.0]) == [6.0, 15.0]
    assert finish_times(0, [], [6.0]) == [6.0], "without a worker as if there were one"
    assert left_of_running(rate, 10, 2.0, None) == 4.0
    assert left_of_running(rate, 10, 2.0, (9.0, 3.0)) == 6.0
    assert left_of_running(rate, 10, 100.0, None) == 0.0


# ── identity ──


def test_ids_are_unique_while_their_workers_live_and_the_same_afterwards(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\nfrom tonewheel.jobs.identity import Identity\n"
        "print(Identity(pathlib.Path(sys.argv[1])).id, flush=True)\nsys.stdin.read()"
    )

    def start() -> tuple[subprocess.Popen[str], str]:
        p = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert p.stdout is not None
        return p, p.stdout.readline().strip()

    (one, first), (two, second) = start(), start()
    assert first != second
    one.kill()
    one.wait()
    three, third = start()
    assert third == first, "whoever comes after a killed worker takes up its work"
    for p in (two, three):
        p.kill()
        p.wait()


# ── signs of life ──


class _Engine:
    def pending(self, _worker: str) -> list[str]:
        return []

    def give_back(self, _job_id: str, _worker: str) -> bool:
        return True


@pytest.fixture
def beats(sqlite_house: House, tmp_path: Path) -> Iterator[Beats]:
    me = Identity(tmp_path)
    database = sqlite_house.store.database
    made = Beats(database, Records(database), _Engine(), me, {"fake": 1}, limit_s=5.0, on_lost=lambda: None)  # type: ignore[arg-type]
    made.enlist()
    now = database.now
    dead = {"id": "dead-0", "incarnation": "x", "host": "h", "pid": 1, "slots": {}, "started_at": now - 100}
    database.write(lambda c: c.execute(sa.insert(workers).values(**dead, beat_at=now - 60)))
    yield made
    me.release()


def _known(house: House) -> set[str]:
    return {w.id for w in house.store.workers()}


def test_nobody_judges_others_before_a_full_limit_of_own_signs(
    beats: Beats, sqlite_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [time.monotonic()]
    monkeypatch.setattr("tonewheel.jobs.beats.time.monotonic", lambda: clock[0])
    beats._last = beats._steady_since = clock[0]
    for _ in range(4):  # 4 s of signs
        clock[0] += 1.0
        beats._beat()
        beats._judge()
    assert "dead-0" in _known(sqlite_house)
    clock[0] += 30.0  # the database was away, or the lid was closed
    beats._beat()
    beats._judge()
    assert "dead-0" in _known(sqlite_house), "after a gap the limit begins anew"
    for _ in range(200):  # five, or more where this machine itself stood still in between
        clock[0] += 1.0
        beats._beat()
        beats._judge()
        if "dead-0" not in _known(sqlite_house):
            return
    raise AssertionError("nobody takes over from the dead")


def test_a_sleep_in_which_this_machines_clock_stood_still_is_a_gap_as_well(
    beats: Beats, sqlite_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = sqlite_house.store.database
    now = database.now
    alive = {"id": "alive-0", "incarnation": "x", "host": "h", "pid": 1, "slots": {}, "started_at": now, "beat_at": now}
    database.write(lambda c: c.execute(sa.insert(workers).values(**alive)))
    beats._beat()
    beats._steady_since = time.monotonic() - 3600  # for long: the dead would be judged now
    awake = sa.literal_column(f"({now}) + 60.0", sa.Float)
    monkeypatch.setattr(Database, "now", property(lambda _: awake))
    beats._beat()
    beats._judge()
    assert _known(sqlite_house) == {"alive-0", "dead-0", beats._me.id}


def test_a_worker_that_was_judged_wrongly_enlists_again(beats: Beats, sqlite_house: House) -> None:
    sqlite_house.store.database.write(lambda c: c.execute(sa.delete(workers)))
    beats._beat()
    assert len(_known(sqlite_house)) == 1


def test_two_workers_of_one_name_do_not_both_go_on(beats: Beats, sqlite_house: House) -> None:
    stopped: list[bool] = []
    beats._on_lost = lambda: stopped.append(True)
    sqlite_house.store.database.write(lambda c: c.execute(sa.update(workers).values(incarnation="other")))
    beats._beat()
    assert stopped == [True]


# ── changes of a job ──


def test_only_the_newest_start_of_a_job_may_write(house: House) -> None:
    records = Records(house.store.database)
    job = house.order("steps=1")
    assert records.begin(job.id, "run1", "w1", 3) is not None
    assert records.begin(job.id, "run1", "w1", 3) is not None, "the same start told twice is one"
    assert house.store.get(job.id).attempts == 1
    assert records.begin(job.id, "run2", "w2", 3) is not None
    assert not records.progress(job.id, "run1", "render", 0.9, None)
    assert not records.fail(job.id, "run1", JobError(type="x", message="x"))
    assert not records.holds(job.id, "run1")
    assert records.progress(job.id, "run2", "render", 0.5, 3.0)
    house.store.cancel(job.id)
    assert not records.progress(job.id, "run2", "render", 0.6, None)
    assert not records.fail(job.id, "run2", JobError(type="x", message="x"))
    assert records.begin(job.id, "run3", "w3", 3) is None
    types = [e.type for e in house.store.events(job.id)]
    assert types == ["queued", "started", "started", "progress", "cancelled"]


def test_a_start_that_was_given_back_does_not_count(house: House) -> None:
    records, database = Records(house.store.database), house.store.database
    job = house.order("steps=1")
    for n in range(5):
        assert records.begin(job.id, f"run{n}", "w1", 3) is not None
        assert database.write(lambda c: records.requeue(c, job.id, "w1", "stopped", counted=False))
    for n in range(3):
        assert records.begin(job.id, f"dead{n}", "w1", 3) is not None
        assert database.write(lambda c: records.requeue(c, job.id, "w1", "died", counted=True))
    assert records.begin(job.id, "one too many", "w1", 3) is None
    assert house.store.get(job.id).state == "poisoned"


# ── helper processes ──


def test_a_helper_that_dies_is_told_and_the_next_one_works() -> None:
    children = Children()
    request = {"narrative": "rain", "duration_s": 10, "seed": 1}

    def call() -> dict[str, object]:
        return children.call("plan", {"request": request}, deadline_s=120, cancelled=lambda: False)

    assert call()["plan"]
    helper = children._idle[0]
    helper._process.kill()
    helper._process.wait()
    assert call()["plan"], "a helper that died while idle is replaced"

    def kill_it() -> bool:
        helper._process.kill()
        return False

    (helper,) = children._idle
    freeze(helper._process.pid)  # or it might be quicker than we
    with pytest.raises(Crashed, match="killed"):
        children.call("plan", {"request": request}, deadline_s=120, cancelled=kill_it)
    children.close()


def test_a_helper_says_what_the_user_did_wrong() -> None:
    children = Children()
    with pytest.raises(InvalidRequest.__mro__[1]) as refused:  # any TonewheelError
        children.call("plan", {"request": {"narrative": ""}}, deadline_s=120, cancelled=lambda: False)
    assert refused.value.type == "invalid_request"
    assert refused.value.http_status == 422
    children.close()


# ── following ──


def test_many_watchers_share_one_connection_and_all_hear_everything(house: House) -> None:
    records, feed = Records(house.store.database), Feed(house.store)
    feed.start()
    job = house.order("steps=1")

    async def follow() -> list[JobEvent]:
        return [e async for e in feed.follow(job.id) if e is not None]

    async def watch() -> list[list[JobEvent]]:
        watchers = [asyncio.create_task(follow()) for _ in range(20)]
        await asyncio.sleep(0.2)
        await asyncio.to_thread(records.begin, job.id, "r", "w", 3)
        for n in range(5):
            await asyncio.to_thread(records.progress, job.id, "r", "render", n / 10, None)
        await asyncio.to_thread(house.store.cancel, job.id)
        return await asyncio.wait_for(asyncio.gather(*watchers), 60)

    heard = asyncio.run(watch())
    for one in heard:
        assert one == house.store.events(job.id)
    assert [e.type for e in heard[0]] == ["queued", "started", *["progress"] * 5, "cancelled"]
    assert feed._watchers == {}
    feed.close()


# ── housekeeping ──


def test_housekeeping_forgets_what_is_old_and_gives_back_what_is_stray(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep_module, "_QUIET_TICK_S", 3600.0)  # its thread must not come in between
    settings = WorkerSettings(
        data_dir=tmp_path / "own", database_url=house.url, storage_url=f"file://{tmp_path / 'storage'}",
        min_free_bytes=0, drain_s=0.0, keep_jobs_s=1000.0,
    )  # fmt: skip
    marks = tmp_path / "marks"
    worker = Worker(settings, renderer=FakeRenderer(marks, {"none": 1}), planner=FakePlanner(marks))
    worker.start()
    try:
        old, stray, lost = house.store.cancel(house.order().id), house.order(), house.order()
        database, upkeep, me = house.store.database, worker._upkeep, worker.identity.id
        database.write(lambda c: c.execute(sa.update(jobs).where(jobs.c.id == old.id).values(finished_at=1.0)))
        _pretend_taken(worker, stray.id, me)
        worker._flow.tools.records.begin(stray.id, "r", me, 3)
        for _ in range(upkeep_module._BEGINS_WITHIN):
            upkeep.strays()
            assert house.store.get(stray.id).state == "running", "its thread may only just be about to begin"
        upkeep.strays()
        assert house.store.get(stray.id).state == "queued"
        assert house.store.get(stray.id).attempts == 0
        assert worker.engine.pending(me) == []
        _pretend_taken(worker, stray.id, me)
        worker._flow.left.add(stray.id)  # it began here and could not go on
        upkeep.strays()
        assert worker.engine.pending(me) == [stray.id], "it may just be ending"
        upkeep.strays()
        assert worker.engine.pending(me) == [] and worker._flow.left == set()
        _pretend_taken(worker, lost.id, "nobody-0")
        upkeep.orphans()
        assert worker.engine.pending("nobody-0") == []
        worker.library.storage.put_work(f"{old.id}/audio.bin", Path(__file__))
        worker.library.storage.put_work(f"{stray.id}/audio.bin", Path(__file__))
        upkeep.clear_work()
        assert worker.library.storage.work_jobs() == [stray.id]
        (tmp_path / "own" / "scratch" / "long-gone").mkdir()
        upkeep.clear_scratch()
        assert [f.name for f in (tmp_path / "own" / "scratch").iterdir()] == [me]
        house.store.forget_older(1000.0)
        assert {j.id for j in house.store.find().jobs} == {stray.id, lost.id}
        assert worker.engine.ended([old.id]) == {}
    finally:
        worker.close()


def test_a_database_that_is_away_while_a_queue_is_asked_does_not_end_the_queue(house: House, tmp_path: Path) -> None:
    settings = WorkerSettings(
        data_dir=tmp_path / "own", database_url=house.url, storage_url=f"file://{tmp_path / 'storage'}",
        min_free_bytes=0, drain_s=0.0,
    )  # fmt: skip
    marks = house.marks_dir
    worker = Worker(settings, renderer=FakeRenderer(marks, {"fake": 1}), planner=FakePlanner(marks))
    worker.start()
    try:
        asked, claimed = threading.Event(), worker.engine._claimed

        def away(queue: str) -> set[str]:
            asked.set()
            raise sa.exc.OperationalError("SELECT", {}, Exception("the server closed the connection"))

        worker.engine._claimed = away  # type: ignore[method-assign]
        job = house.order("steps=1")
        worker.engine.look("fake")
        assert asked.wait(60)
        assert house.marks(job) == [], "nothing is taken while it cannot be told what runs"
        worker.engine._claimed = claimed  # type: ignore[method-assign]

        def look_again() -> bool:
            worker.engine.look("fake")
            return house.store.get(job.id).ended

        house.until(look_again)
        assert house.store.get(job.id).state == "done"
    finally:
        worker.close()


def test_nobody_who_begins_meanwhile_is_taken_for_dead(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who enlists, makes a folder and takes a job between two questions of the housekeeping keeps all of it."""
    monkeypatch.setattr(upkeep_module, "_QUIET_TICK_S", 3600.0)
    settings = WorkerSettings(data_dir=tmp_path / "own", database_url=house.url, min_free_bytes=0, drain_s=0.0)
    worker = Worker(settings, renderer=FakeRenderer(tmp_path, {"none": 1}), planner=FakePlanner(tmp_path))
    worker.start()
    try:
        job, scratch = house.order(), tmp_path / "own" / "scratch" / "new-0"
        read = house.store.database.read

        def and_then(work: Any, **more: Any) -> Any:
            answer = read(work, **more)
            if not scratch.exists():
                now = house.store.database.now
                row = {"incarnation": "x", "host": "h", "pid": 1, "slots": {}, "started_at": now, "beat_at": now}
                house.store.database.write(lambda c: c.execute(sa.insert(workers).values(id="new-0", **row)))
                scratch.mkdir()
                _pretend_taken(worker, job.id, "new-0")
            return answer

        monkeypatch.setattr(worker.database, "read", and_then)
        worker._upkeep.orphans()
        worker._upkeep.clear_scratch()
        assert scratch.exists()
        assert worker.engine.pending("new-0") == [job.id]
    finally:
        monkeypatch.undo()
        worker.close()


def test_a_job_that_begins_when_the_worker_has_stopped_is_left_alone(house: House, tmp_path: Path) -> None:
    settings = WorkerSettings(data_dir=tmp_path / "own", database_url=house.url, min_free_bytes=0)
    worker = Worker(settings, renderer=FakeRenderer(tmp_path, {"none": 1}), planner=FakePlanner(tmp_path))
    job = house.order()
    worker._stopping = True
    with pytest.raises(Interrupted):
        worker._flow.run(job.id)
    assert (house.store.get(job.id).state, house.store.get(job.id).attempts) == ("queued", 0)
    assert worker._flow.running == {} and worker._flow.left == {job.id}
    worker.database.close()
    worker.identity.release()


def _pretend_taken(worker: Worker, job_id: str, executor: str) -> None:
    table = worker.engine._status
    with worker.engine._instance._sys_db.engine.begin() as c:
        changed = c.execute(
            sa.update(table).where(table.c.workflow_uuid == job_id).values(status="PENDING", executor_id=executor,
                                                                         application_version="1")
        )  # fmt: skip
    assert changed.rowcount == 1
