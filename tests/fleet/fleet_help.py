"""What the tests of the fleet share: a family of models that sleep, crash or hang, a device that is not there,
waiting, calls in the background."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tonewheel.fleet.client import Fleet
from tonewheel.fleet.memory import Device
from tonewheel.fleet.processes import Limits, Processes
from tonewheel.fleet.records import Records
from tonewheel.fleet.spawn import end_hard
from tonewheel.models import registry
from tonewheel.settings import settings

GB = 1_000_000_000
MakeFleet = Callable[..., Fleet]

_FAMILY = """
import os, sys, time
from pydantic import BaseModel
from tonewheel.errors import InvalidRequest, MissingExtra
from tonewheel.models.base import Blob, Card, Family, Metadata, Model, ModelRequest, Result, RunContext


class Ask(ModelRequest):
    do: str = "answer"
    hold: str = ""
    seconds: float = 0.0
    gigabytes: int = 0


class Answer(BaseModel):
    pid: int
    audio_base64: str | None = None
    metadata: Metadata


class Tester(Model[Ask]):
    def load(self, context: RunContext) -> None:
        context.progress("weights", 0.5)
        if self.card.id == "crashes-loading":
            print("the weights are mouldy", file=sys.stderr, flush=True)
            os._exit(3)
        if self.card.id == "cannot-load":
            raise MissingExtra("tester needs tonewheel[tester]: install it")
        if self.card.id == "loads-when-told":
            while not os.path.exists(os.path.join(os.environ["TONEWHEEL_DATA_DIR"], "may-load")):
                time.sleep(0.02)

    def validate(self, request: Ask) -> Ask:
        if request.do == "refuse":
            raise InvalidRequest("do: it will not refuse", param="do")
        return request

    def run(self, request: Ask, context: RunContext) -> Result:
        if request.do == "crash":
            print("segmentation fault, so to say", file=sys.stderr, flush=True)
            os._exit(139)
        if request.do == "two places":
            note = Blob(b"a note", "text/plain", "note.txt")
            return Result({"pid": os.getpid(), "audio_base64": note, "all": [{"audio_base64": note}]})
        if request.hold:
            open(request.hold + ".begun", "w").close()
        while request.hold and not os.path.exists(request.hold):
            if request.do != "hang":  # native code that never looks up
                context.progress("hold", 0.1)
            time.sleep(0.02)
        end = time.monotonic() + request.seconds
        while time.monotonic() < end:
            context.progress("sleep", 1 - (end - time.monotonic()) / request.seconds)
            time.sleep(0.02)
        return Result({"pid": os.getpid()})


def card(name, **more):
    return Card(id=name, family="tester", title=name, tasks=("music",), code_license="Apache-2.0",
                sample_rate=8000, channels=1, service="tester", default_port=9999, **more)


NAMES = ("one", "two", "three", "crashes-loading", "cannot-load", "loads-when-told")
FAMILY = Family(
    name="tester", title="Tester", cards=tuple(card(n) for n in NAMES), request=Ask, response=Answer, create=Tester,
    memory_bytes=lambda card, request: (1 + (request.gigabytes if request else 0)) * 1_000_000_000,
)
"""


def install_tester(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install the tester family under `folder` by an entry point, here and for processes; gives the data directory."""
    site = folder / "site"
    info = site / "tester-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "tonewheel_tester.py").write_text(_FAMILY)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tester\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tonewheel.models]\ntester = tonewheel_tester:FAMILY\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("TONEWHEEL_DATA_DIR", str(folder / "data"))
    for name in ("HEARTMULA_BASE_URL", "JEN1_URL", "TONEWHEEL_API_KEY", "TONEWHEEL_HUB_URL", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    forget_settings()
    return folder / "data"


def forget_settings() -> None:
    """Settings and families are read anew."""
    settings.cache_clear()
    registry.catalogue.cache_clear()


def quick_fleet(records: Records, *, memory: int = 100 * GB, others: int = 0, **limits: Any) -> Fleet:
    """An impatient fleet on a device of `memory` bytes that is not there."""
    patience = {"backoff_s": 0.05, "reap_every_s": 0.05, "grace_s": 60.0, "reserve_bytes": 0} | limits
    return Fleet(processes=Processes(records, Limits(**patience), devices=FakeMemory(records, memory, others)))


def end_at_once(fleet: Fleet) -> None:
    """Close it without the graceful end of its models, which takes half a second each."""
    for record in fleet.records.live():
        end_hard(record.process.pid)
    fleet.close()


class FakeMemory:
    """A device that is not there: `total` bytes, of which every live model of the tests takes what its card says."""

    def __init__(self, records: Records, total: int, others: int = 0) -> None:
        self.records, self.total, self.others = records, total, others

    def __call__(self) -> list[Device]:
        used = sum(r.need_bytes for r in self.records.live()) + self.others
        return [Device("cpu", "fake", self.total, max(0, self.total - used), source="fake")]


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> bool:
    """Whether `condition` came true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


class InBackground(threading.Thread):
    """A call in a thread; `result()` gives its answer or raises its error."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._call = call
        self._answer: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._answer = self._call()
        except BaseException as error:
            self._error = error

    def result(self, seconds: float = 120.0) -> Any:
        self.join(seconds)
        assert not self.is_alive(), "the call did not end"
        if self._error is not None:
            raise self._error
        return self._answer


class LateClock:
    """The clock of `tonewheel.fleet.deadline`, which a test can put forward: no deadline passes before that."""

    sleep = staticmethod(time.sleep)

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


def pid_of(fleet: Fleet, model: str, **request: object) -> int:
    """The process that answered."""
    return int(fleet.call(model, request).fields["pid"])


@dataclass(frozen=True)
class AtWork:
    """Model `one` at work, its only slot taken, until it is let go on: nothing here depends on how long that takes."""

    call: InBackground
    gate: Path

    def finish(self) -> Any:
        """Its answer."""
        self.gate.touch()
        return self.call.result()


_gates = itertools.count()


def new_gate(fleet: Fleet) -> Path:
    """For `hold` of a request: the work makes FILE.begun and goes on until FILE is there."""
    return fleet.records.path.parent / f"gate{next(_gates)}"


def begun(gate: Path) -> bool:
    return gate.with_name(f"{gate.name}.begun").exists()


def working(fleet: Fleet, do: str = "answer", **options: Any) -> AtWork:
    """Model `one` at work in the background."""
    before, gate = fleet.records.of("one").accepted_at(), new_gate(fleet)
    call = InBackground(lambda: fleet.call("one", {"do": do, "hold": str(gate)}, **options))
    assert wait_for(lambda: begun(gate) and fleet.records.of("one").accepted_at() > before)
    return AtWork(call, gate)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
