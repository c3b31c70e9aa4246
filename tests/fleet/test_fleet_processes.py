"""Model processes: real ones, started, kept, ended, killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest
from fleet_help import GB, InBackground, MakeFleet, alive, pid_of, wait_for, working

from tonewheel.errors import (
    Cancelled,
    DiskFull,
    ModelCrashed,
    ModelFailed,
    NotReady,
    TonewheelError,
)
from tonewheel.fleet import processes, room
from tonewheel.fleet.catalogue import running
from tonewheel.fleet.client import Fleet
from tonewheel.fleet.records import ModelFolder, Records
from tonewheel.fleet.room import CannotFit


def test_an_idle_process_ends_and_what_it_gave_back_is_told(fleet: Fleet) -> None:
    pid = int(fleet.call("one", {}, keep_alive="200ms").fields["pid"])
    assert wait_for(lambda: not alive(pid))
    assert wait_for(lambda: len(fleet.processes.unloads) == 1)
    unload = fleet.processes.unloads[0]
    assert (unload.model, unload.reason) == ("one", "idle")
    assert unload.returned_bytes == GB  # by the fake device
    assert unload.held_bytes is not None and unload.held_bytes > 10_000_000  # really measured
    assert fleet.records.of("one").record() is None


def test_keep_alive_of_0_ends_at_once_and_of_minus_1_never(fleet: Fleet) -> None:
    forever = int(fleet.call("one", {}, keep_alive=-1).fields["pid"])
    at_once = int(fleet.call("two", {}, keep_alive=0).fields["pid"])
    assert wait_for(lambda: not alive(at_once))
    assert alive(forever)
    (shown,) = running(fleet.records)
    assert shown.ends_in_s is None


def test_a_process_killed_while_idle_is_started_again_after_a_back_off(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(backoff_s=0.6)
    first = pid_of(fleet, "one")
    os.kill(first, signal.SIGKILL)
    assert wait_for(lambda: fleet.records.of("one").crashes().count == 1)
    noticed = fleet.records.of("one").crashes().last_at
    assert pid_of(fleet, "one") != first
    started = fleet.records.of("one").live()
    assert started is not None and started.started_at >= noticed + 0.6
    assert fleet.records.of("one").crashes().count == 0  # it answered: forgiven


def test_a_process_killed_at_work_is_told_as_a_fault_that_may_pass(fleet: Fleet) -> None:
    with pytest.raises(ModelCrashed, match="segmentation fault, so to say") as caught:
        fleet.call("one", {"do": "crash"})
    assert caught.value.retryable
    assert pid_of(fleet, "one")


def test_three_crashes_are_a_failure_told_with_the_last_words(fleet: Fleet) -> None:
    with pytest.raises(ModelFailed, match=r"3 times.*the weights are mouldy") as caught:
        fleet.call("crashes-loading", {})
    assert not caught.value.retryable
    with pytest.raises(ModelFailed):
        fleet.call("crashes-loading", {})
    assert fleet.records.of("crashes-loading").crashes().count == 3  # nothing was started
    fleet.processes.stop("crashes-loading")  # the user says: try again
    assert fleet.records.of("crashes-loading").crashes().count == 0


def test_a_model_that_failed_gets_one_more_start_after_a_while(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(failed_for_s=600.0, crashes=1)
    with pytest.raises(ModelFailed):
        fleet.call("crashes-loading", {})
    folder = fleet.records.of("crashes-loading")
    noted = folder.crashes()
    long_ago = noted.model_copy(update={"last_at": noted.last_at - 601.0})
    (folder.path / "crashes.json").write_text(long_ago.model_dump_json())
    with pytest.raises(ModelFailed, match="2 times"):
        fleet.call("crashes-loading", {})


def test_why_a_model_cannot_load_reaches_the_caller_and_its_process_ends(fleet: Fleet) -> None:
    with pytest.raises(TonewheelError, match=r"install it"):
        fleet.call("cannot-load", {})
    assert fleet.records.live() == []
    assert fleet.records.of("cannot-load").crashes().count == 0


def test_the_longest_unused_idle_model_makes_room(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(memory=2 * GB)
    one, two = pid_of(fleet, "one"), pid_of(fleet, "two")
    assert pid_of(fleet, "one") == one  # used again: `two` is the older now
    pid_of(fleet, "three")
    assert alive(one) and not alive(two)
    assert fleet.processes.unloads[-1].reason == "room for three"


def test_a_busy_model_is_never_ended_for_room_but_waited_for(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(memory=1 * GB)
    one = pid_of(fleet, "one")
    work = working(fleet)
    other = InBackground(lambda: pid_of(fleet, "two"))
    time.sleep(0.5)  # as long as it likes: what must not happen while the work goes on
    assert other.is_alive() and alive(one) and fleet.records.of("two").live() is None
    assert work.finish().fields["pid"] == one  # it was left to finish
    two = other.result()
    assert alive(two) and not alive(one)


def test_an_idle_model_that_is_looked_after_just_then_makes_room_all_the_same(
    make_fleet: MakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = make_fleet(memory=1 * GB, reap_every_s=3600.0)
    one, folder = pid_of(fleet, "one"), fleet.records.of("one")
    looking, waited_for = threading.Event(), threading.Event()
    at_most = room._at_most

    def heard(looks: int) -> Callable[[], None]:
        check = at_most(looks)
        return lambda: (waited_for.set(), check())[1]

    def look() -> None:  # as a reaper does, of this process or of another
        with folder.locked(lambda: None):
            looking.set()
            assert waited_for.wait(120)

    monkeypatch.setattr(room, "_at_most", heard)
    reaper = InBackground(look)
    assert looking.wait(60)
    two = pid_of(fleet, "two")
    reaper.result()
    assert alive(two) and not alive(one)


def test_a_model_that_can_never_fit_is_refused_with_the_figures(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(memory=3 * GB)
    with pytest.raises(CannotFit, match=r"needs 6\.0 GB.*has 3\.0 GB in all") as caught:
        fleet.call("one", {"gigabytes": 5})
    assert not caught.value.retryable and caught.value.http_status == 507
    assert fleet.records.live() == []
    pid_of(fleet, "one")
    with pytest.raises(
        CannotFit, match=r"needs 6\.0 GB.*3\.0 GB in all"
    ):  # a request too large for the loaded one, too
        fleet.call("one", {"gigabytes": 5})


def test_memory_of_other_programs_counts_and_nothing_is_ended_in_vain(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(memory=10 * GB, others=8 * GB)
    one = pid_of(fleet, "one")
    with pytest.raises(CannotFit, match=r"1\.0 GB of 10\.0 GB are free.*9\.0 GB are used") as caught:
        fleet.call("two", {"gigabytes": 4})
    assert caught.value.retryable  # the other program may end
    assert alive(one)


def test_ten_callers_at_once_start_one_process(fleet: Fleet) -> None:
    calls = [InBackground(lambda: pid_of(fleet, "one")) for _ in range(10)]
    assert len({call.result() for call in calls}) == 1


def test_two_fleets_share_one_process_and_only_its_owner_ends_it(make_fleet: MakeFleet) -> None:
    owner, guest = make_fleet(), make_fleet()
    pid = pid_of(owner, "one")
    assert pid_of(guest, "one") == pid
    guest.close()
    assert alive(pid)


def test_stop_ends_a_process_of_somebody_else_and_forgets_it(fleet: Fleet, data_dir: Path) -> None:
    pid = pid_of(fleet, "one")
    command = [sys.executable, "-m", "tonewheel.cli.main", "stop", "one", "--json"]
    stopped = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert '"reason": "stopped"' in stopped.stdout
    assert not alive(pid)
    assert wait_for(lambda: not psutil.pid_exists(pid))  # also buried: not a zombie of its parent for ever
    assert fleet.records.of("one").crashes().count == 0  # on purpose is no crash
    assert pid_of(fleet, "one") != pid


def test_a_closed_fleet_leaves_no_process_and_starts_none(fleet: Fleet) -> None:
    pids = [pid_of(fleet, "one"), pid_of(fleet, "two")]
    fleet.close()
    assert not any(alive(pid) for pid in pids)
    with pytest.raises(NotReady):
        fleet.call("one", {})


_PARENT = """
import sys, time
from tonewheel.fleet.client import Fleet
print(Fleet().call("one", {}).fields["pid"], flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("hung", [False, True])
def test_no_orphan_after_the_parent_is_killed_hard(data_dir: Path, hung: bool) -> None:
    parent = subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert alive(child)
    if hung:
        if not sys.platform.startswith("linux"):
            pytest.skip("only Linux ends a child that hangs in native code")
        os.kill(child, signal.SIGSTOP)  # stands for one that holds the interpreter
    parent.kill()
    parent.wait()
    assert wait_for(lambda: not alive(child))
    records = Records(data_dir)
    records.clean()
    assert records.of("one").record() is None  # no stale entry, and no crash of the model's
    assert records.of("one").crashes().count == 0


def test_a_stale_entry_with_a_reused_process_id_is_not_believed(fleet: Fleet) -> None:
    pid_of(fleet, "one")
    record = fleet.records.of("one").live()
    assert record is not None
    fleet.close()
    other = record.model_copy(update={"process": record.process.model_copy(update={"pid": os.getpid()})})
    fleet.records.of("one").write(other)
    assert fleet.records.of("one").live() is None
    assert fleet.records.live() == []


def test_a_proxy_gets_the_address_and_the_process_stays_meanwhile(fleet: Fleet) -> None:
    with fleet.using("one", check=lambda: None, keep_alive=0) as address:
        health = httpx.get(f"{address.url}/health", headers=dict(address.headers), timeout=120)
        assert health.json()["service"] == "tester"
        time.sleep(0.3)
        assert len(fleet.records.live()) == 1
    assert wait_for(lambda: not fleet.records.live())


def test_the_latest_request_says_how_long_a_model_stays_however_late_an_earlier_one_ends(fleet: Fleet) -> None:
    records = fleet.records.of("one")
    with fleet.using("one", check=lambda: None, keep_alive="10m"):
        with fleet.using("one", check=lambda: None, keep_alive="45m"):
            pass
        inner_ended = records.used()
    outer_ended = records.used()
    assert inner_ended is not None and outer_ended is not None
    assert outer_ended.keep_alive_s == inner_ended.keep_alive_s == 2700
    assert outer_ended.at > inner_ended.at  # and it counts from the last end


def test_a_full_disk_leaves_no_process_nobody_knows_of(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise DiskFull("no room")

    monkeypatch.setattr(ModelFolder, "write", full)
    before = set(psutil.Process().children())
    with pytest.raises(DiskFull):
        fleet.call("one", {})
    assert wait_for(lambda: not any(alive(p.pid) for p in set(psutil.Process().children()) - before))


def test_memory_promised_to_a_model_being_loaded_is_not_promised_twice(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(memory=1 * GB)
    both = [InBackground(lambda name=name: pid_of(fleet, name)) for name in ("one", "two")]  # type: ignore[misc]
    first, second = (call.result() for call in both)
    assert first != second
    assert len(fleet.records.live()) == 1  # one after the other, never both


def test_a_model_nobody_waits_for_any_more_is_loaded_and_then_ends_as_idle(
    fleet: Fleet, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_UNWANTED_S", 0.3)
    folder, stop = fleet.records.of("loads-when-told"), threading.Event()
    call = InBackground(lambda: fleet.call("loads-when-told", {}, cancelled=stop.is_set))
    assert wait_for(lambda: folder.live() is not None)
    stop.set()
    with pytest.raises(Cancelled):
        call.result()
    record = folder.live()
    assert record is not None and record.state == "starting"
    (data_dir / "may-load").touch()
    assert wait_for(lambda: any(u.reason == "idle" for u in fleet.processes.unloads))
