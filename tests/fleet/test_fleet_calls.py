"""Calls of a model that runs: progress, slots, cancel, deadlines, mistakes. One fleet for all of them."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from fleet_help import (
    InBackground,
    LateClock,
    alive,
    begun,
    end_at_once,
    forget_settings,
    install_tester,
    new_gate,
    pid_of,
    quick_fleet,
    wait_for,
    working,
)

from tonewheel.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidRequest,
    TonewheelError,
    UnknownName,
)
from tonewheel.fleet import client, deadline
from tonewheel.fleet.client import Fleet
from tonewheel.fleet.records import Records


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        data_dir = install_tester(tmp_path_factory.mktemp("calls"), monkeypatch)
        fleet = quick_fleet(Records(data_dir))
        yield fleet
        end_at_once(fleet)
    forget_settings()


def test_first_use_starts_a_process_and_the_next_uses_it(fleet: Fleet) -> None:
    told: list[tuple[str, float]] = []
    first = fleet.call("one", {"seconds": 0.2}, progress=lambda stage, share, eta: told.append((stage, share)))
    assert first.fields["pid"] != os.getpid()
    assert pid_of(fleet, "one") == first.fields["pid"]
    assert "sleep" in {stage for stage, _ in told}
    assert [share for _, share in told] == sorted(share for _, share in told)
    assert {"ready", "slot", "work"} <= set(first.timings)


def test_a_file_that_stands_at_two_places_is_fetched_for_both(fleet: Fleet) -> None:
    answer = fleet.call("one", {"do": "two places"}, accept="audio/wav")
    assert [(file.field, file.read()) for file in answer.files] == [
        ("audio_base64", b"a note"), ("all[0].audio_base64", b"a note"),
    ]  # fmt: skip


def test_a_request_waits_for_the_slot(fleet: Fleet) -> None:
    pid_of(fleet, "one")
    first = working(fleet)
    before = refusals(fleet)
    second = InBackground(lambda: fleet.call("one", {}))
    assert wait_for(lambda: refusals(fleet) > before)
    assert second.is_alive()
    first.finish()
    assert second.result().timings["slot"] > 0


def refusals(fleet: Fleet) -> float:
    """How often model `one` has said that it is busy."""
    record = fleet.records.of("one").live()
    assert record is not None
    rows = httpx.get(f"{record.address}/metrics", timeout=120).text.splitlines()
    return sum(float(row.rpartition(" ")[2]) for row in rows if 'status="503"' in row and "_total" in row)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> LateClock:
    clock = LateClock()
    monkeypatch.setattr(deadline, "time", clock)
    return clock


def test_a_call_that_cannot_get_a_slot_in_time_is_told_busy(fleet: Fleet, clock: LateClock) -> None:
    pid_of(fleet, "one")
    first = working(fleet)
    before = refusals(fleet)
    second = InBackground(lambda: fleet.call("one", {}, deadline_s=300.0))
    assert wait_for(lambda: refusals(fleet) >= before + 3)  # so it has heard the first of them
    clock.ahead = 300.0
    with pytest.raises(TonewheelError, match="busy") as caught:
        second.result()
    assert caught.value.type == "busy"
    first.finish()


def test_cancel_stops_the_work_and_frees_the_slot(fleet: Fleet) -> None:
    pid = pid_of(fleet, "one")
    stop = threading.Event()
    work = working(fleet, cancelled=stop.is_set)
    stop.set()
    with pytest.raises(Cancelled):
        work.call.result()
    assert pid_of(fleet, "one") == pid


def test_a_deadline_stops_the_work(fleet: Fleet, clock: LateClock) -> None:
    pid = pid_of(fleet, "one")
    work = working(fleet, deadline_s=300.0)
    clock.ahead = 300.0
    with pytest.raises(DeadlineExceeded):
        work.call.result()
    clock.ahead = 0.0
    assert pid_of(fleet, "one") == pid


def test_mistakes_are_told_before_anything_is_started(fleet: Fleet) -> None:
    fleet.processes.stop("one")
    with pytest.raises(InvalidRequest, match="seconds"):
        fleet.call("one", {"seconds": "many"})
    with pytest.raises(UnknownName, match="did you mean"):
        fleet.call("tow", {})
    with pytest.raises(InvalidRequest, match="keep_alive"):
        fleet.call("one", {}, keep_alive="a while")
    assert fleet.records.of("one").live() is None


def test_what_the_model_refuses_comes_back_as_our_error(fleet: Fleet) -> None:
    with pytest.raises(InvalidRequest, match="it will not refuse") as caught:
        fleet.call("one", {"do": "refuse"})
    assert (caught.value.param, caught.value.retryable, caught.value.http_status) == ("do", False, 422)


def test_stop_lets_the_running_work_finish(fleet: Fleet) -> None:
    pid = pid_of(fleet, "one")
    work = working(fleet)
    stopping = InBackground(lambda: fleet.processes.stop("one"))
    assert wait_for(lambda: (record := fleet.records.of("one").record()) is not None and record.state == "stopping")
    assert work.finish().fields["pid"] == pid
    assert stopping.result() is not None


def test_a_process_outlives_the_thread_that_asked_for_it(fleet: Fleet) -> None:
    # On Linux the kernel ties a child to the thread that started it.
    pid = int(InBackground(lambda: pid_of(fleet, "one")).result())
    time.sleep(0.2)
    assert alive(pid)


def test_an_event_loop_can_call_and_a_cancelled_task_stops_the_work(fleet: Fleet) -> None:
    async def main() -> int:
        answer = await fleet.acall("one", {})
        gate = new_gate(fleet)
        task = asyncio.create_task(fleet.acall("one", {"hold": str(gate)}))
        while not begun(gate):
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        again = await fleet.acall("one", {})
        assert again.fields["pid"] == answer.fields["pid"]
        return int(again.fields["pid"])

    assert asyncio.run(main())


def test_work_that_ignores_its_cancel_costs_the_process_not_the_slot(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_LET_GO_S", 0.5)
    pid, stop = pid_of(fleet, "one"), threading.Event()
    work = working(fleet, "hang", cancelled=stop.is_set)
    stop.set()
    with pytest.raises(Cancelled):
        work.call.result()
    assert wait_for(lambda: not alive(pid))
    assert pid_of(fleet, "one") != pid


def test_the_next_request_is_not_taken_for_work_that_does_not_stop(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_LET_GO_S", 0.5)
    pid, folder = pid_of(fleet, "one"), fleet.records.of("one")
    cancelled = client._Slot(folder)
    cancelled.accepted()
    following = working(fleet)  # it got the slot before anybody looked after the one that was cancelled
    record = folder.live()
    assert record is not None and cancelled.taken_at is not None
    fleet._see_it_stop(record, cancelled.taken_at)
    assert wait_for(lambda: not any(thread.name == "fleet-let-go" for thread in threading.enumerate()))
    assert following.finish().fields["pid"] == pid
