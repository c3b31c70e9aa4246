"""Ordering, following and stopping jobs, as a gateway does it, with a real worker beside."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from job_house import House, open_house

from tonewheel.errors import Conflict, DiskFull, InvalidRequest, NotFound, QueueFull
from tonewheel.jobs.request import song_request
from tonewheel.jobs.store import JobStore


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house with one worker that runs one job of a model at a time; shared by the tests of this file."""
    folder = tmp_path_factory.mktemp("served")
    houses = open_house(folder, f"sqlite:///{folder / 'jobs.sqlite'}")
    house = next(houses)
    house.worker("--slots", "1", "--drain", "0")
    yield house
    next(houses, None)


def hold(house: House, model: str = "fake") -> str:
    """Keep the slot of the model busy until it is cancelled; the id of the job that does."""
    job = house.order("hold=never", model=model)
    house.until(lambda: house.held(job))
    return job.id


# ── accepting ──


def test_the_same_key_with_the_same_request_is_the_same_job(any_house: House) -> None:
    first = any_house.order("steps=1", idempotency_key="k1", seed=5)
    assert any_house.order("steps=1", idempotency_key="k1", seed=5).id == first.id
    assert any_house.order("steps=1", seed=5).id != first.id
    with pytest.raises(Conflict) as refused:
        any_house.order("steps=2", idempotency_key="k1", seed=5)
    assert refused.value.http_status == 409
    assert len(any_house.store.find().jobs) == 2


def test_how_long_the_model_stays_is_told_to_the_renderer(house: House) -> None:
    house.worker()
    asked, silent = house.order(keep_alive="45m"), house.order()
    assert house.ended(asked).request["keep_alive"] == "45m"
    assert "keep_alive=45m" in house.marks(asked)
    house.ended(silent)
    assert not any(mark.startswith("keep_alive") for mark in house.marks(silent))


def test_one_key_used_by_many_at_once_makes_one_job(house: House) -> None:
    ids: list[str] = []
    threads = [
        threading.Thread(target=lambda: ids.append(house.order("steps=1", idempotency_key="same").id)) for _ in range(8)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(ids) == 8
    assert len(set(ids)) == 1
    assert len(house.store.events(ids[0])) == 1


def test_a_full_queue_refuses_the_next_with_position_and_a_time(house: House) -> None:
    store = JobStore(house.store.database, queue_limit=3)
    request = song_request(prompt="steps=1", model="fake", duration_s=10)
    accepted = [store.submit(request, idempotency_key=f"k{n}") for n in range(3)]
    with pytest.raises(QueueFull) as refused:
        store.submit(request)
    assert refused.value.http_status == 429
    assert refused.value.retry_after_s >= 1
    assert refused.value.position == 4
    assert store.submit(request, idempotency_key="k0").id == accepted[0].id, "a repeated order is no new one"
    store.cancel(accepted[0].id)
    assert store.submit(request).state == "queued"


def test_the_bound_is_exact_when_many_order_at_once(house: House) -> None:
    store = JobStore(house.store.database, queue_limit=5)
    request = song_request(prompt="steps=1", model="fake", duration_s=10)
    outcomes: list[str] = []

    def order() -> None:
        try:
            store.submit(request)
            outcomes.append("accepted")
        except QueueFull:
            outcomes.append("refused")

    threads = [threading.Thread(target=order) for _ in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(outcomes) == ["accepted"] * 5 + ["refused"] * 7


def test_nothing_is_accepted_without_room_on_the_disk(sqlite_house: House) -> None:
    full = JobStore(sqlite_house.store.database, has_room=lambda: False)
    with pytest.raises(DiskFull):
        full.submit(song_request(prompt="steps=1", model="fake", duration_s=1))
    assert sqlite_house.store.find().jobs == ()


@pytest.mark.parametrize("priority", [-1, 10])
def test_a_priority_outside_0_to_9_is_refused(sqlite_house: House, priority: int) -> None:
    with pytest.raises(InvalidRequest, match="priority is"):
        sqlite_house.order("steps=1", priority=priority)


@pytest.mark.parametrize("bad", ["job_0000000000000000000000", "job_../../etc/passwd", "", "x" * 5000, "song_1"])
def test_an_id_that_is_none_is_not_found(sqlite_house: House, bad: str) -> None:
    for call in (sqlite_house.store.get, sqlite_house.store.cancel, sqlite_house.store.events):
        with pytest.raises(NotFound) as refused:
            call(bad)
        assert len(refused.value.message) < 100


# ── the order of things ──


def test_what_goes_first_goes_first(served: House) -> None:
    holder = hold(served)
    last, middle, first, middle2 = (served.order("steps=1", priority=p) for p in (9, 5, 0, 5))
    positions = [served.store.get(j.id).position for j in (first, middle, middle2, last)]
    assert positions == [1, 2, 3, 4]
    served.store.cancel(holder)
    ended = [served.ended(j) for j in (first, middle, middle2, last)]
    starts = [j.started_at for j in ended]
    assert starts == sorted(starts)  # type: ignore[type-var]


def test_a_queue_of_one_model_does_not_wait_for_another(served: House) -> None:
    holder = hold(served)
    other = served.order("steps=1", model="other")
    assert served.ended(other).state == "done"
    assert served.store.get(holder).state == "running"
    served.store.cancel(holder)


def test_no_more_run_at_once_than_there_are_slots(served: House) -> None:
    jobs = [served.order("steps=1") for _ in range(8)]
    spans = []
    for job in jobs:
        served.ended(job)
        at = {what: float(when) for what, _, when in served.marked(job)}
        spans.append((at["plan"], at["end"]))
    spans.sort()
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans))


def test_the_time_left_comes_from_what_was_measured(served: House) -> None:
    served.ended(served.order("steps=1"))
    assert "fake" in served.store.rates()
    holder = hold(served)
    waiting = [served.order("steps=1", duration_s=100) for _ in range(2)]
    etas = [served.store.get(j.id).eta_s for j in waiting]
    assert etas[0] is not None
    assert etas[1] is not None
    assert 0 < etas[0] < etas[1]
    lane = next(lane for lane in served.store.lanes() if lane.model == "fake")
    assert (lane.queued, lane.running, lane.slots) == (2, 1, 1)
    assert lane.oldest_queued_s is not None
    for job_id in (holder, *(j.id for j in waiting)):
        served.store.cancel(job_id)


def test_what_a_job_was_reckoned_to_take_is_told_until_it_tells_itself(any_house: House) -> None:
    first = any_house.store.submit(song_request(prompt="x", model="fake", duration_s=10), expected_s=600.0)
    second = any_house.store.submit(song_request(prompt="x", model="fake", duration_s=10))
    etas = [any_house.store.get(job.id).eta_s for job in (first, second)]
    assert etas[0] is not None and etas[1] is not None
    assert 600 <= etas[0] < 620 and etas[0] < etas[1]


# ── stopping ──


def test_a_queued_job_that_is_cancelled_never_starts(served: House) -> None:
    holder = hold(served)
    job = served.order("steps=1")
    assert served.store.cancel(job.id).state == "cancelled"
    served.store.cancel(holder)
    after = served.order("steps=1")
    assert served.ended(after).state == "done"
    assert served.marks(job) == []
    assert [e.type for e in served.store.events(job.id)] == ["queued", "cancelled"]


def test_a_running_job_that_is_cancelled_stops_within_a_step_and_frees_its_slot(served: House) -> None:
    holder = hold(served)
    assert served.store.cancel(holder).state == "cancelled"
    after = served.order("steps=1")
    job = served.ended(after)
    assert job.state == "done"
    assert "end" not in served.marks(served.store.get(holder))
    assert served.marks(served.store.get(holder))[-1] == "cancelled"
    assert served.library.of_job(holder) is None
    served.until(lambda: not (served.folder / "storage" / "work" / holder).exists())


def test_cancelling_what_has_ended_changes_nothing(served: House) -> None:
    job = served.ended(served.order("steps=1"))
    before = served.store.events(job.id)
    assert served.store.cancel(job.id).state == "done"
    assert served.store.events(job.id) == before


# ── faults ──


def test_a_fault_that_may_pass_is_tried_again(served: House) -> None:
    job = served.ended(served.order("fail=busy fail_times=1"))
    assert job.state == "done"
    assert served.marks(job).count("start") == 2
    told = [e.data for e in served.store.events(job.id) if e.type == "retrying"]
    assert len(told) == 1
    assert told[0]["stage"] == "render"


def test_a_mistake_of_the_user_is_not_tried_again(served: House) -> None:
    job = served.ended(served.order("fail=invalid"))
    assert job.state == "failed"
    assert job.error is not None
    assert (job.error.type, job.error.http_status, job.error.retryable) == ("invalid_request", 422, False)
    assert served.marks(job).count("start") == 1
    assert served.store.events(job.id)[-1].data["error"]["type"] == "invalid_request"


def test_a_job_that_waits_to_be_tried_again_can_be_cancelled(served: House) -> None:
    job = served.order("fail=busy")
    served.until(lambda: any(e.type == "retrying" for e in served.store.events(job.id)))
    served.store.cancel(job.id)
    after = served.ended(served.order("steps=1"))
    assert after.state == "done"


def test_a_render_past_its_deadline_is_stopped(served: House) -> None:
    holder = hold(served, "other")  # until its deadline is set
    hasty = JobStore(served.store.database, least_deadline_s=0.3)
    hasty_job = hasty.submit(song_request(prompt="hold=never", model="other", duration_s=1))
    assert hasty_job.deadline_s == 35, "5 × duration + 30 s is the least"
    with served.store.database.engine.begin() as c:
        c.exec_driver_sql(f"UPDATE tonewheel_jobs SET deadline_s = 0.3 WHERE id = '{hasty_job.id}'")
        c.exec_driver_sql("DELETE FROM tonewheel_rates WHERE model = 'other'")
    served.store.cancel(holder)
    job = served.ended(hasty_job)
    assert job.state == "failed"
    assert job.error is not None
    assert (job.error.type, job.error.http_status) == ("deadline_exceeded", 504)


# ── following ──


def test_events_tell_the_whole_story_and_can_be_replayed_from_any_point(served: House) -> None:
    job = served.order("steps=30 step_s=0.05")
    live = [e for e in served.store.watch(job.id) if e is not None]
    assert [e.id for e in live] == list(range(1, len(live) + 1))
    assert [live[0].type, live[1].type, live[-1].type] == ["queued", "started", "done"]
    assert served.store.events(job.id) == live
    for n in range(1, len(live)):
        assert served.store.events(job.id, after=n) == live[n:]
        assert [e for e in served.store.watch(job.id, after=n) if e is not None] == live[n:]
    assert list(served.store.watch(job.id, after=len(live))) == []
    fractions = [e.data["fraction"] for e in live if e.type == "progress"]
    assert fractions == sorted(fractions)
    assert live[-1].data["song_id"] == served.store.get(job.id).song_id


def test_progress_is_written_about_once_a_second(served: House) -> None:
    job = served.ended(served.order("steps=80 step_s=0.02"))
    progress = [e for e in served.store.events(job.id) if e.type == "progress"]
    seconds = (job.finished_at or 0) - (job.started_at or 0)
    assert len(progress) <= seconds + 4


def test_a_watcher_gets_a_sign_of_life_when_nothing_happens(served: House) -> None:
    holder = hold(served)
    job = served.order("steps=1")
    watching = served.store.watch(job.id, idle_s=0.2)
    assert next(watching) is not None
    assert next(watching) is None
    served.store.cancel(holder)
    assert [e.type for e in watching if e is not None][-1] == "done"


def test_pages_of_jobs_come_newest_first_and_meet_without_gaps(sqlite_house: House) -> None:
    jobs = [sqlite_house.order("steps=1") for _ in range(7)]
    seen: list[str] = []
    after: str | None = None
    while True:
        page = sqlite_house.store.find(limit=3, after=after)
        seen += [j.id for j in page.jobs]
        after = page.next
        if after is None:
            break
    assert seen == [j.id for j in reversed(jobs)]
    assert sqlite_house.store.find(state="done").jobs == ()
    with pytest.raises(InvalidRequest):
        sqlite_house.store.find(limit=0)


def test_an_ended_job_can_be_forgotten_and_its_song_stays(served: House) -> None:
    job = served.ended(served.order("steps=1"))
    holder = hold(served)
    with pytest.raises(Conflict):
        served.store.delete(holder)
    served.store.cancel(holder)
    served.store.delete(job.id)
    with pytest.raises(NotFound):
        served.store.get(job.id)
    assert job.song_id is not None
    assert served.library.get(job.song_id).job_id == job.id


def test_what_is_stored_says_how_it_was_made(served: House) -> None:
    import json

    job = served.ended(served.order("steps=1", seed=77, title="A Fake", format="flac"))
    assert job.song_id is not None
    song = served.library.get(job.song_id)
    assert (song.title, song.seed, song.model, song.format, song.licence) == ("A Fake", 77, "fake", "flac", "none")
    assert abs(song.duration_s - 1.0) < 0.01
    assert song.checks["peak_dbfs"] < 0
    assert set(song.timings) >= {"plan", "render", "check", "analyse", "finish"}
    side = song.artifact("sidecar")
    assert side is not None
    with served.library.open(side.id) as (_, file):
        told = json.load(file)
    main = song.artifact("song")
    assert main is not None
    assert told["sha256"] == main.sha256
    assert (told["seed"], told["model"], told["revision"]) == (77, "fake", "fake")
    assert Path(main.name).suffix == ".flac"
