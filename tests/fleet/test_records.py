"""What several fleets, and commands beside them, note of one model at the same moment; the other of two comes late."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
import pytest
from fleet_help import InBackground, MakeFleet, alive, pid_of, wait_for

from tonewheel.errors import DiskFull, NotReady
from tonewheel.fleet import client
from tonewheel.fleet.client import Fleet
from tonewheel.fleet.exchange import Answer
from tonewheel.fleet.records import ModelFolder, Record, Records, State, Use, this_process


def a_record(state: State, began: float = 0.0) -> Record:
    process = this_process().model_copy(update={"began": this_process().began + began})
    return Record(
        model="m", service="m", process=process, owner=this_process(), port=1, state=state, device="cpu",
        need_bytes=5, started_at=0.0,
    )  # fmt: skip


def test_a_process_that_is_told_to_end_while_it_loads_is_never_ready(tmp_path: Path) -> None:
    folder = Records(tmp_path).of("m")
    folder.write(a_record("starting"))
    assert folder.told_to_end(a_record("starting"))
    assert not folder.told_to_end(a_record("starting"))  # a second time it would break off its work
    noted = folder.update(a_record("ready"))
    assert noted is not None and noted.state == "stopping"
    assert folder.record() == noted


def test_who_ended_a_process_leaves_the_one_that_came_after_it_alone(tmp_path: Path) -> None:
    folder, later = Records(tmp_path).of("m"), a_record("ready", began=5.0)
    folder.write(a_record("starting"))
    folder.write(later)
    assert folder.update(a_record("ready")) is None
    assert not folder.told_to_end(a_record("ready"))
    folder.forget(a_record("stopping"))
    assert folder.record() == later
    folder.forget(later)
    assert folder.record() is None


def test_a_model_stopped_while_it_loads_is_started_again_for_who_waits(fleet: Fleet, data_dir: Path) -> None:
    folder = fleet.records.of("loads-when-told")
    call = InBackground(lambda: pid_of(fleet, "loads-when-told"))
    assert wait_for(lambda: (record := folder.live()) is not None and record.port > 0)
    first = folder.live()
    assert first is not None
    fleet.processes.stop("loads-when-told", force=True)
    assert not alive(first.process.pid)
    (data_dir / "may-load").touch()
    last = folder.live() if call.result() else None
    assert last is not None and last.process.pid == call.result() != first.process.pid
    assert folder.crashes().count == 0


def test_a_model_that_was_told_to_end_by_others_and_is_slow_to_go_is_waited_for(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid, folder, refusals = pid_of(fleet, "one"), fleet.records.of("one"), []
    record = folder.live()
    assert record is not None

    async def closed(asked: Record, *_: object) -> Answer:
        refusals.append(asked.process.pid)
        if len(refusals) == 10:
            monkeypatch.setattr(client, "_ask", ask)
            os.kill(pid, signal.SIGTERM)  # its door is shut before; here it takes a second
            assert await asyncio.to_thread(wait_for, lambda: not alive(pid))
        raise httpx.ConnectError("refused")

    ask = client._ask
    monkeypatch.setattr(client, "_ask", closed)
    assert pid_of(fleet, "one") != pid
    assert refusals == [pid] * 10 and folder.crashes().count == 0


def test_a_process_that_is_started_while_the_fleet_closes_is_ended_with_it(
    make_fleet: MakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = make_fleet()
    spawner, started, go_on = fleet.processes._spawner, threading.Event(), threading.Event()
    start, pids = spawner.start, []

    def slowly(command: Sequence[str], environment: Mapping[str, str], log: Path) -> object:
        child = start(command, environment, log)
        pids.append(child.pid)
        started.set()
        assert go_on.wait(120)
        return child

    monkeypatch.setattr(spawner, "start", slowly)
    call = InBackground(lambda: fleet.call("one", {}))
    assert started.wait(120)
    closing = InBackground(fleet.close)
    closing.join(0.5)  # which waits for the start, or it would not know of it
    go_on.set()
    closing.result()
    assert len(pids) == 1 and not alive(pids[0])
    with pytest.raises(NotReady):
        call.result()


def test_a_request_that_ends_while_its_model_is_looked_after_keeps_it(
    make_fleet: MakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = make_fleet(reap_every_s=3600.0)
    pid, folder = pid_of(fleet, "one"), fleet.records.of("one")
    using = fleet.using("one", check=lambda: None, keep_alive="10m")
    using.__enter__()
    long_ago = time.time() - 3600  # when the request began
    folder._write("used", Use(at=long_ago, keep_alive_s=600.0))
    os.utime(folder.path / "used", (long_ago, long_ago))
    leases = ModelFolder.leases

    def ended_just_now(self: ModelFolder) -> int:
        monkeypatch.setattr(ModelFolder, "leases", leases)
        using.__exit__(None, None, None)
        return leases(self)

    monkeypatch.setattr(ModelFolder, "leases", ended_just_now)
    fleet.processes._look_after(folder)
    assert ModelFolder.leases is leases  # it was asked
    assert alive(pid) and fleet.records.of("one").live() is not None


def test_a_full_disk_keeps_no_process_alive(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = pid_of(fleet, "one")

    def full(*_: object) -> None:
        raise DiskFull("no room")

    monkeypatch.setattr(ModelFolder, "_write", full)
    fleet.close()
    assert not alive(pid) and fleet.records.of("one").record() is None
