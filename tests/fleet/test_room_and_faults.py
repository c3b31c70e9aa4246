"""Where a model goes, and what a service's error means; without processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tonewheel import errors
from tonewheel.fleet.faults import ServiceFault, from_answer
from tonewheel.fleet.memory import Device
from tonewheel.fleet.records import Record, Records, State, this_process
from tonewheel.fleet.room import CannotFit, Need, Room, candidates, fits

CPU = Device("cpu", "x86", 64, 60)
SMALL = Device("cuda", "A", 10, 9, id="GPU-a", index=0)
LARGE = Device("cuda", "B", 40, 20, id="GPU-b", index=1)
UNTOLD = Device("mps", "Apple GPU", None, None)


def test_the_best_kind_goes_first_and_of_it_the_freest() -> None:
    order = candidates(Need("m", ("cuda", "cpu"), 5), [CPU, SMALL, LARGE], 0)
    assert order == [LARGE, SMALL, CPU]
    assert candidates(Need("m", ("cuda", "cpu"), 15), [CPU, SMALL, LARGE], 0) == [LARGE, CPU]


def test_a_device_that_does_not_tell_its_memory_refuses_nothing() -> None:
    assert candidates(Need("m", ("mps",), 10**15), [UNTOLD], 0) == [UNTOLD]
    assert fits(10**15, UNTOLD, 0, 0)


def test_a_model_for_another_machine_is_refused_for_good() -> None:
    with pytest.raises(CannotFit, match=r"runs on cuda only; this machine has cpu") as caught:
        candidates(Need("m", ("cuda",), 1), [CPU], 0)
    assert not caught.value.retryable


def test_what_is_kept_free_and_what_is_promised_are_not_given_away() -> None:
    assert fits(9, SMALL, 0, 0) and not fits(9, SMALL, 1, 0) and not fits(9, SMALL, 0, 1)


@pytest.mark.parametrize(("state", "busy"), [("starting", True), ("ready", False), ("stopping", True)])
def test_a_model_that_comes_or_goes_is_waited_for_and_not_taken_for_what_stays(
    tmp_path: Path, state: State, busy: bool
) -> None:
    records = Records(tmp_path)
    record = Record(
        model="m", service="m", process=this_process(), owner=this_process(), port=1, state=state, device="cpu",
        need_bytes=5, started_at=0.0,
    )  # fmt: skip
    records.of("m").write(record)
    room = Room(records, lambda: [CPU], 0, lambda *_: None)
    assert room._busy(Need("other", ("cpu",), 61), CPU) is busy
    lease = records.of("m").lease()
    assert room._busy(Need("other", ("cpu",), 61), CPU)
    lease.unlink()


@pytest.mark.parametrize(
    ("status", "detail", "kind", "retryable"),
    [
        (422, {"type": "unknown_name", "message": "m", "param": "s", "retryable": False}, errors.UnknownName, False),
        (503, {"type": "busy", "message": "m", "retryable": True}, errors.ServiceBusy, True),
        (429, {"type": "queue_full", "message": "m", "retryable": True}, errors.QueueFull, True),
        (507, {"type": "out_of_memory", "message": "m", "retryable": True}, errors.OutOfMemory, True),
        (500, {"type": "internal", "message": "m", "retryable": False}, ServiceFault, False),
        (500, {"type": "of_a_later_version", "message": "m", "retryable": True}, ServiceFault, True),
        (422, "just a text", errors.InvalidRequest, False),
        (422, [{"loc": ["body", "duration"], "msg": "too long"}], errors.InvalidRequest, False),
        (504, None, errors.DeadlineExceeded, True),
        (418, None, ServiceFault, False),
        (500, None, ServiceFault, True),
    ],
)  # fmt: skip
def test_errors_of_services_become_ours(
    status: int, detail: object, kind: type[errors.TonewheelError], retryable: bool
) -> None:
    error = from_answer(status, {"detail": detail} if detail is not None else None, retry_after_s=7)
    assert type(error) is kind and error.retryable is retryable and error.message
    if isinstance(error, errors.ServiceBusy):
        assert error.retry_after_s == 7


def test_every_error_type_comes_back_as_its_own_class() -> None:
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.TonewheelError) and kind.type != "internal":
            error = from_answer(kind.http_status, {"detail": {"type": kind.type, "message": "m", "param": "p"}})
            assert (type(error), error.message, error.param) == (kind, "m", "p")


def test_leases_of_a_process_that_died_count_no_more(tmp_path: Path) -> None:
    folder = Records(tmp_path).of("m")
    lease = folder.lease()
    dead = lease.with_name(f"{2**22 + 1}_1_0")
    dead.touch()
    assert folder.leases() == 1
    assert not dead.exists() and lease.exists()
    lease.unlink()
    assert folder.leases() == 0


def test_a_process_is_known_by_its_number_and_its_beginning() -> None:
    me = this_process()
    assert me.alive()
    assert not me.model_copy(update={"began": me.began - 1}).alive()
