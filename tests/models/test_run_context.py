"""The line between running work and whoever waits for it."""

from __future__ import annotations

import threading
import time

import pytest
from pydantic import ValidationError

from tonewheel.errors import Cancelled, DeadlineExceeded, InvalidRequest
from tonewheel.explain import explain
from tonewheel.models.base import ModelRequest, Progress, RunContext, Upload


def test_progress_never_goes_back_and_tells_the_time_left() -> None:
    told: list[Progress] = []
    context = RunContext(on_progress=told.append)
    for fraction in (0.0, 0.5, 0.3, 2.0, float("nan")):
        context.progress("work", fraction)
        time.sleep(0.01)
    assert [p.fraction for p in told] == [0.0, 0.5, 0.5, 1.0, 1.0]
    assert told[0].eta_s is None
    assert told[1].eta_s is not None
    assert told[1].eta_s > 0
    assert told[3].eta_s == 0


def test_work_stops_at_its_next_step_after_a_cancel_from_another_thread() -> None:
    context = RunContext()
    steps = 0

    def work() -> None:
        nonlocal steps
        while True:
            context.progress("step", 0.1)
            steps += 1
            time.sleep(0.005)

    ended: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    until = time.monotonic() + 60
    while steps < 2 and time.monotonic() < until:
        time.sleep(0.005)
    context.cancel("enough")
    context.cancel("twice changes nothing")
    thread.join(60)
    assert not thread.is_alive()
    assert isinstance(ended[0], Cancelled)
    assert str(ended[0]) == "enough"
    assert steps > 1


def test_the_deadline_stops_work_too() -> None:
    RunContext(deadline=time.monotonic() + 600).check_cancelled()
    context = RunContext(deadline=time.monotonic() - 0.01)
    with pytest.raises(DeadlineExceeded):
        context.progress("step", 0.5)
    assert not context.cancelled


class _Ask(ModelRequest):
    file: Upload
    count: int = 1
    more: tuple[Upload, ...] = ()


@pytest.mark.parametrize("text", ["QUJD", "QU\nJD", " QUJD ", "data:audio/wav;base64,QUJD"])
def test_base64_is_taken_as_clients_send_it(text: str) -> None:
    assert _Ask.model_validate({"file": text}).file == b"ABC"


@pytest.mark.parametrize("text", ["QUJ", "QU-_", "====", "QUJD=", "QUJDQQ==QUJD", "é", ""])
def test_broken_base64_is_refused(text: str) -> None:
    for body, place in (({"file": text}, "file"), ({"file": "QUJD", "more": ["QUJD", text]}, "more[1]")):
        with pytest.raises(ValidationError) as caught:
            _Ask.model_validate(body)
        told = explain(caught.value, InvalidRequest, "")
        assert told.message.startswith(f"{place}: is ") and "base64" in told.message
        assert told.param == place


def test_base64_of_several_pieces_joins() -> None:
    import base64

    data = bytes(range(256)) * 8192  # 2 MB: three pieces
    assert _Ask.model_validate({"file": base64.b64encode(data).decode()}).file == data


def test_a_truth_value_is_no_number() -> None:
    with pytest.raises(InvalidRequest, match="count"):
        _Ask.model_validate({"file": "QUJD", "count": True})
