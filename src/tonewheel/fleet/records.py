"""What the fleets of one data directory share: which process runs which model, who uses it, how it crashed.

    <data dir>/fleet/lock                   taken for each decision about memory
    <data dir>/fleet/<model>/lock           taken for each decision about this model
                             process.json   a Record: the process, its port, its owner
                             noting         taken to change process.json: `stop` has not the model's lock
                             crashes.json   Crashes since the last answer
                             used           when it was last used, and how long to keep it
                             leases/        one file a request that uses it
                             log            what the process printed

Every file appears whole (written beside, then renamed). A process is known by its id *and* the moment
it began: ids are given out again.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeVar

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from tonewheel.errors import DiskFull

State = Literal["starting", "ready", "stopping"]

_LOCK_POLL_S = 0.02
_BEGAN_TOLERANCE_S = 0.005  # clock ticks are 10 ms
_count = itertools.count()


class ProcessId(BaseModel):
    """A process that cannot be mistaken for a later one with the same number."""

    model_config = ConfigDict(frozen=True)

    pid: int
    began: float  # seconds; since when depends on the system

    def alive(self) -> bool:
        """Whether it still runs; a zombie does not."""
        began = _began(self.pid)
        return began is not None and abs(began - self.began) < _BEGAN_TOLERANCE_S


def identify(pid: int) -> ProcessId | None:
    """The process that has this id now; None when there is none."""
    began = _began(pid)
    return None if began is None else ProcessId(pid=pid, began=began)


def _began(pid: int) -> float | None:
    """When a process began; None when it is gone or a zombie."""
    if sys.platform.startswith("linux"):
        try:
            # After the name in brackets, which may hold anything: state, …, start time (proc_pid_stat(5), 3 and 22).
            # In ticks since the machine started: psutil's time of day would move when the clock is set.
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            return None if fields[0] in (b"Z", b"X") else int(fields[19]) / os.sysconf("SC_CLK_TCK")
        except (OSError, IndexError, ValueError):
            return None
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


@lru_cache(maxsize=1)
def _own(pid: int) -> ProcessId:
    found = identify(pid)
    assert found is not None  # it is asking
    return found


def this_process() -> ProcessId:
    """This process; also right after a fork."""
    return _own(os.getpid())


class Record(BaseModel):
    """A model process, as all fleets of the data directory see it."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    model: str
    service: str
    process: ProcessId
    owner: ProcessId
    port: int
    state: State
    device: str
    device_id: str = ""
    need_bytes: int
    started_at: float
    load_s: float | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Crashes(BaseModel):
    """Crashes of a model since its last answer."""

    model_config = ConfigDict(frozen=True)

    count: int = 0
    last_at: float = 0.0
    last_words: list[str] = []


class Use(BaseModel):
    """When a model was last used, and for how long it is kept after that; None = always."""

    model_config = ConfigDict(frozen=True)

    at: float
    keep_alive_s: float | None

    @property
    def until(self) -> float:
        """Seconds since the epoch; inf = always."""
        return math.inf if self.keep_alive_s is None else self.at + self.keep_alive_s


FileT = TypeVar("FileT", bound=BaseModel)


@dataclass(frozen=True)
class ModelFolder:
    """The shared folder of one model."""

    path: Path

    @property
    def log(self) -> Path:
        return self.path / "log"

    # ── the lock ──

    @contextlib.contextmanager
    def locked(self, wait: Callable[[], None] | None = None) -> Iterator[bool]:
        """Hold the model's lock. With `wait`, called every 20 ms (it raises to give up), until it is free;
        without, yields False when somebody else has it. Two threads exclude each other as two processes do."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("wb") as file:
            held = _try_lock(file.fileno())
            while not held and wait is not None:
                wait()
                time.sleep(_LOCK_POLL_S)
                held = _try_lock(file.fileno())
            yield held

    # ── the process ──

    def record(self) -> Record | None:
        return self._read("process.json", Record)

    def live(self) -> Record | None:
        """The record, if its process still runs."""
        record = self.record()
        return record if record is not None and record.process.alive() else None

    def write(self, record: Record) -> None:
        """Note a process that was started."""
        with self._noting():
            self._write("process.json", record)

    def update(self, record: Record) -> Record | None:
        """Note what has become of a process; gives what is noted of it then. One that was told to end meanwhile stays
        so; None = it is gone, and another may be in its place: nothing is changed."""
        with self._noting():
            current = self.record()
            if current is None or current.process != record.process:
                return None
            if current.state == "stopping":
                return current
            self._write("process.json", record)
            return record

    def told_to_end(self, record: Record) -> bool:
        """Note that a process is to end; False = it was told before, or another is in its place."""
        with self._noting():
            current = self.record()
            if current is None:
                return True
            if current.process != record.process or current.state == "stopping":
                return False
            self._write("process.json", current.model_copy(update={"state": "stopping"}))
            return True

    def forget(self, record: Record) -> None:
        """The process is gone. Another one that is noted by now stays."""
        if not self.path.is_dir():
            return
        with self._noting():
            current = self.record()
            if current is None or current.process == record.process:
                (self.path / "process.json").unlink(missing_ok=True)

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        """Hold what guards process.json; a moment only."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = (self.path / "noting").open("wb")
        except OSError as error:
            raise _cannot_write(self.path / "noting", error) from error
        with file:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX)
            yield

    # ── crashes ──

    def crashes(self) -> Crashes:
        return self._read("crashes.json", Crashes) or Crashes()

    def crashed(self, record: Record) -> Crashes:
        """Count one more and forget the process."""
        crashes = Crashes(count=self.crashes().count + 1, last_at=time.time(), last_words=self.last_words())
        self._write("crashes.json", crashes)
        self.forget(record)
        return crashes

    def forgive(self) -> None:
        """It works again, or the user says so."""
        (self.path / "crashes.json").unlink(missing_ok=True)

    def last_words(self, lines: int = 12) -> list[str]:
        """The last lines of the log that say something."""
        try:
            with self.log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - 16_384))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return []
        return [line.rstrip()[:500] for line in text.splitlines() if line.strip()][-lines:]

    # ── use ──

    def lease(self) -> Path:
        """Say that a request uses the process; `release` takes it back. Call it under the lock."""
        me = this_process()
        path = self.path / "leases" / f"{me.pid}_{round(me.began * 1000)}_{next(_count)}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        except OSError as error:
            raise _cannot_write(path, error) from error
        return path

    def leases(self) -> int:
        """Requests that use the process now; those of processes that died are cleared away."""
        held = 0
        with contextlib.suppress(FileNotFoundError):
            for path in list((self.path / "leases").iterdir()):
                if _holder(path).alive():
                    held += 1
                else:
                    path.unlink(missing_ok=True)
        return held

    def use(self, keep_alive_s: float) -> None:
        """A use began now; the model is to be kept so long after it."""
        self._write("used", Use(at=time.time(), keep_alive_s=None if math.isinf(keep_alive_s) else keep_alive_s))

    def use_ended(self) -> None:
        """A use ended now. Only the time is noted: how long to keep the model is what the latest to begin asked for."""
        with contextlib.suppress(OSError):  # none is noted: it was stopped meanwhile
            self._stamp("used")

    def used(self) -> Use | None:
        use = self._read("used", Use)
        if use is None:
            return None
        return use.model_copy(update={"at": max(use.at, self._stamped_at("used"))})

    def accepted(self) -> None:
        """A request got a slot now."""
        with contextlib.suppress(OSError):
            (self.path / "accepted").touch()
            self._stamp("accepted")

    def accepted_at(self) -> float:
        """When a request last got a slot; seconds since the epoch, 0 = never."""
        return self._stamped_at("accepted")

    # ── files ──

    def _stamp(self, name: str) -> None:
        now = time.time_ns()  # the system's own stamp on a file is up to 10 ms old: it could seem to be from before
        os.utime(self.path / name, ns=(now, now))

    def _stamped_at(self, name: str) -> float:
        try:
            return (self.path / name).stat().st_mtime
        except OSError:
            return 0.0

    def _read(self, name: str, kind: type[FileT]) -> FileT | None:
        try:
            return kind.model_validate_json((self.path / name).read_bytes())
        except (OSError, ValidationError):  # absent, or of another version
            return None

    def _write(self, name: str, value: BaseModel) -> None:
        temporary = self.path / f".{name}.{os.getpid()}.{next(_count)}"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(value.model_dump(mode="json")))
            temporary.replace(self.path / name)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise _cannot_write(self.path / name, error) from error


class Records:
    """The shared folders of all models of a data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / "fleet"

    def of(self, model: str) -> ModelFolder:
        return ModelFolder(self.path / model)

    def all(self) -> list[tuple[str, ModelFolder]]:
        """Every model that ever ran here."""
        if not self.path.is_dir():
            return []
        return [(p.name, ModelFolder(p)) for p in sorted(self.path.iterdir()) if p.is_dir()]

    @contextlib.contextmanager
    def deciding(self, wait: Callable[[], None]) -> Iterator[None]:
        """Hold the lock of decisions about memory; a moment only. Always taken after a model's own lock."""
        with ModelFolder(self.path).locked(wait):
            yield

    def live(self) -> list[Record]:
        """Every model process that runs now, whoever owns it."""
        return [record for _, folder in self.all() if (record := folder.live()) is not None]

    def clean(self) -> None:
        """Forget processes that ended together with their owner: nobody else will."""
        for _, folder in self.all():
            with folder.locked() as held:
                record = folder.record() if held else None
                if record is not None and not record.process.alive() and not record.owner.alive():
                    folder.forget(record)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _cannot_write(path: Path, error: OSError) -> DiskFull:
    return DiskFull(f"cannot write {path}: {error.strerror}: free some room, or set TONEWHEEL_DATA_DIR")


def _holder(lease: Path) -> ProcessId:
    pid, _, rest = lease.name.partition("_")
    began, _, _ = rest.partition("_")
    if not (pid.isdecimal() and began.isdecimal()):
        return ProcessId(pid=0, began=-1.0)
    return ProcessId(pid=int(pid), began=int(began) / 1000)
