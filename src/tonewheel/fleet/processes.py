"""Model processes on this machine: started on first use, kept while used, ended when idle or when room is needed.

    with processes.using(card, need, idle_need, keep_alive_s=600, check=…) as record:
        … speak HTTP with record.address …

A process belongs to the fleet that started it (it dies with it), and every fleet of the same data directory
may use it. All decisions about one model are made under its lock (`records.ModelFolder`).
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from tonewheel.errors import ModelFailed, NotReady, TonewheelError
from tonewheel.fleet import probe
from tonewheel.fleet.children import Children
from tonewheel.fleet.memory import Device, ReadDevices, process_device_bytes, read_devices, readable
from tonewheel.fleet.records import ModelFolder, ProcessId, Record, Records, identify, this_process
from tonewheel.fleet.room import Need, Room, on
from tonewheel.fleet.spawn import Spawner, end_hard, end_softly, environment_for, listening_port, service_command, trim

log = logging.getLogger(__name__)

Check = Callable[[], None]  # raises to give up: cancelled, or past the deadline
Tell = Callable[[str, float], None]  # (stage, fraction) while a model loads

_UNWANTED_S = 60.0  # how long a model stays if whoever wanted it gave up while it loaded
_ALREADY_ENDED = (0, -15)  # exit codes of a process that was asked to end: no crash


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient a fleet is. All times in seconds."""

    load_timeout_s: float = 900.0
    crashes: int = 3  # then the model is declared failed
    backoff_s: float = 0.5  # before the second start; doubled for each further one
    failed_for_s: float = 600.0  # then one more start is tried
    reap_every_s: float = 2.0
    grace_s: float = 65.0  # a model asked to end finishes what it does (TONEWHEEL_DRAIN_S, 60 s) or is killed
    reserve_bytes: int = 256_000_000


@dataclass(frozen=True, slots=True)
class Unload:
    """What the end of a model's process gave back, in bytes; None = this machine does not tell."""

    model: str
    reason: str
    device: str
    held_bytes: int | None  # of the process, just before
    returned_bytes: int | None  # more free on the device than just before, other processes included
    took_s: float


class Processes:
    """The model processes a fleet starts and uses. Thread-safe; blocking."""

    def __init__(
        self,
        records: Records,
        limits: Limits | None = None,
        *,
        command: Callable[[str], list[str]] = service_command,
        devices: ReadDevices = read_devices,
        on_unload: Callable[[Unload], None] | None = None,
    ) -> None:
        self.records = records
        self.limits = limits or Limits()
        self.unloads: deque[Unload] = deque(maxlen=50)
        self._command = command
        self._devices = devices
        self._on_unload = on_unload
        self._spawner = Spawner()
        self._children = Children()
        self._lock = threading.Lock()
        self._room = Room(records, devices, self.limits.reserve_bytes, self._end)
        self._wake = threading.Event()
        self._closed = False
        self._reaper: threading.Thread | None = None

    # ── use ──

    @contextlib.contextmanager
    def using(
        self, need: Need, idle_count: int, *, service: str, keep_alive_s: float, check: Check, tell: Tell | None = None
    ) -> Iterator[Record]:
        """The ready process of a model, which is not ended within the block.

        `need.count` is what it takes with this request, `idle_count` what it takes loaded and idle. Raises
        CannotFit, ModelFailed, NotReady, what loading it raised, and what `check` raises.
        """
        folder = self.records.of(need.model)
        with folder.locked(check):
            record = self._ready(folder, need, idle_count, service, check, tell or _silent)
            folder.use(keep_alive_s)
            lease = folder.lease()
        try:
            yield record
        finally:
            folder.use_ended()
            lease.unlink(missing_ok=True)
            if keep_alive_s == 0:
                self._wake.set()

    def answered(self, model: str) -> None:
        """A request was answered: earlier crashes are forgiven."""
        self.records.of(model).forgive()

    def _ready(
        self, folder: ModelFolder, need: Need, idle_count: int, service: str, check: Check, tell: Tell
    ) -> Record:
        while True:
            check()
            record = self._known(folder, check)
            if record is None:
                self._wait_out(folder, need.model, check)
                start = partial(self._start, folder, need.model, service, idle_count)
                record = self._room.make_for(need, check, start)
            elif record.state == "ready":
                self._room.make_to_grow(need, idle_count, record, check)
                if record.process.alive():
                    return record
                continue
            ready = self._await(folder, record, check, tell)
            if ready is not None:
                return ready

    def _known(self, folder: ModelFolder, check: Check | None = None) -> Record | None:
        """The process that runs; one found dead is counted as crashed, one being ended is waited for."""
        record = folder.record()
        if record is None:
            return None
        if self._children.alive(record):
            if record.state != "stopping":
                return record
            self._end(folder, record, "stopped", asked=True, check=check)
            return None
        noted = folder.record()  # read anew: who ended it has noted that before, but perhaps after our first look
        if (
            noted is None
            or noted.state == "stopping"
            or not record.owner.alive()
            or self._children.exit_code(record) in _ALREADY_ENDED
        ):
            folder.forget(record)
        else:
            self._note_crash(folder, record)
        return None

    def _note_crash(self, folder: ModelFolder, record: Record) -> None:
        crashes = folder.crashed(record)
        words = crashes.last_words[-1] if crashes.last_words else "it said nothing"
        log.warning(
            "model %s (pid %d) crashed, %d in a row, exit code %s: %s",
            record.model, record.process.pid, crashes.count, self._children.exit_code(record), words,
        )  # fmt: skip
        self._children.forget([record.process.pid])

    def _wait_out(self, folder: ModelFolder, model: str, check: Check) -> None:
        """After a crash: the back-off, twice as long each time; after too many: ModelFailed."""
        crashes = folder.crashes()
        if crashes.count >= self.limits.crashes:
            left = crashes.last_at + self.limits.failed_for_s - time.time()
            if left > 0:
                raise ModelFailed(
                    f"model {model} crashed {crashes.count} times in a row and is not started again for {left:.0f} s "
                    f"(`tonewheel stop {model}` forgives it at once)",
                    last_words=crashes.last_words,
                    retry_after_s=left,
                )
        elif crashes.count:
            until = crashes.last_at + self.limits.backoff_s * 2 ** (crashes.count - 1)
            while time.time() < until:
                check()
                time.sleep(min(0.05, max(0.0, until - time.time())))

    # ── starting ──

    def _start(self, folder: ModelFolder, model: str, service: str, count: int, device: Device) -> Record:
        self._start_reaper()
        with self._lock:  # to the end: `close` sees a process that is started beside it, and ends it
            if self._closed:
                raise NotReady("the fleet is closing: no model is started")
            child = self._spawner.start(self._command(model), environment_for(device), folder.log)
            process = identify(child.pid)
            record = Record(
                model=model,
                service=service,
                process=process or ProcessId(pid=child.pid, began=0.0),
                owner=this_process(),
                port=0,
                state="starting",
                device=device.label,
                device_id=device.id,
                need_bytes=count,
                started_at=time.time(),
            )
            self._children.add(child)
            try:
                folder.write(record)
                folder.use(_UNWANTED_S)
            except TonewheelError:  # a full disk: what nobody knows of must not run
                end_hard(child.pid)
                raise
        log.info("model %s starts as pid %d on %s", model, child.pid, device.label)
        return record

    def _await(self, folder: ModelFolder, record: Record, check: Check, tell: Tell) -> Record | None:
        """The record once it is ready; None when it ended meanwhile, or is about to. Raises why it could not load."""
        pause = 0.01
        while self._children.alive(record):
            check()
            record = self._look_at_loading(folder, record, tell)
            if record.state == "ready":
                return record
            if record.state == "stopping":
                return None
            time.sleep(pause)
            pause = min(0.2, pause * 1.3)
        return None

    def _look_at_loading(self, folder: ModelFolder, record: Record, tell: Tell) -> Record:
        """The record as it is now. Raises why it could not load; its process has ended then."""
        if time.time() - record.started_at > self.limits.load_timeout_s:
            self._end(folder, record, "it did not become ready")
            raise NotReady(f"model {record.model} was not ready after {self.limits.load_timeout_s:.0f} s: given up")
        if not record.port:
            port = listening_port(folder.log)
            if port is None:
                return record
            noted = folder.update(record.model_copy(update={"port": port}))
            if noted is None or noted.state == "stopping":
                return noted or record
            record = noted
        answer = probe.readiness(record.address)
        if answer is None:
            return record
        if answer.fault is not None:
            self._end(folder, record, "it could not be loaded")
            raise answer.fault
        if answer.state != "ready":
            tell(answer.stage or "load", answer.fraction)
            return record
        load_s = time.time() - record.started_at
        noted = folder.update(record.model_copy(update={"state": "ready", "load_s": load_s}))
        if noted is None or noted.state == "stopping":
            return noted or record
        log.info("model %s is ready after %.1f s", record.model, load_s)
        return noted

    # ── ending ──

    def stop(self, model: str, *, force: bool = False, check: Check | None = None) -> Unload | None:
        """End a model's process, whoever owns it, and forgive its crashes; None when it does not run.

        What it is doing is finished first (at most `grace_s`), unless `force`. Does not wait for the model's lock:
        a load under way is called off.
        """
        folder = self.records.of(model)
        folder.forgive()
        record = folder.live()
        return None if record is None else self._end(folder, record, "stopped", force=force, check=check)

    def _end(
        self,
        folder: ModelFolder,
        record: Record,
        reason: str,
        *,
        force: bool = False,
        asked: bool = False,
        check: Check | None = None,
    ) -> Unload:
        """`asked`: it was told to end already. Nobody is told twice: it would break off what it is doing."""
        started = time.monotonic()
        device = next((d for d in self._devices() if on(d, record)), None)
        held = process_device_bytes(record.process.pid, device) if device else None
        if not asked:
            self._tell_to_end(folder, record, force)
        while self._children.alive(record):
            if check is not None:
                check()
            if time.monotonic() - started > self.limits.grace_s:
                end_hard(record.process.pid)
            time.sleep(0.01)
        folder.forget(record)
        self._children.forget([record.process.pid])
        return self._measured(record, reason, device, held, started)

    def _tell_to_end(self, folder: ModelFolder, record: Record, force: bool = False) -> None:
        try:
            told = folder.told_to_end(record)
        except TonewheelError as error:  # a full disk: it ends all the same
            log.warning("model %s: %s", record.model, error.message)
            told = True
        if (told or force) and self._children.alive(record):
            (end_hard if force else end_softly)(record.process.pid)

    def _measured(self, record: Record, reason: str, before: Device | None, held: int | None, started: float) -> Unload:
        """What came back. Drivers take a moment to count it."""
        returned = None
        deadline = time.monotonic() + 0.5
        while before is not None and before.free_bytes is not None:
            after = next((d for d in self._devices() if d.label == before.label and d.id == before.id), None)
            if after is None or after.free_bytes is None:
                break
            returned = after.free_bytes - before.free_bytes
            if time.monotonic() > deadline or returned >= 0.8 * (held or 1):
                break
            time.sleep(0.02)
        unload = Unload(record.model, reason, record.device, held, returned, time.monotonic() - started)
        self.unloads.append(unload)
        log.info(
            "model %s (pid %d) ended: %s; it held %s, %s of %s came back",
            record.model, record.process.pid, reason, readable(held), readable(returned), record.device,
        )  # fmt: skip
        if self._on_unload is not None:
            self._on_unload(unload)
        return unload

    def kill(self, record: Record, reason: str) -> None:
        """End a process that is stuck; that is a crash."""
        log.warning("model %s (pid %d) is killed: %s", record.model, record.process.pid, reason)
        end_hard(record.process.pid)
        self._wake.set()

    def close(self) -> None:
        """End every process this fleet started: all are asked at once, then waited for."""
        with self._lock:
            self._closed = True
        children = self._children.pids()
        self._wake.set()
        mine = [r for r in self.records.live() if r.owner == this_process() and r.process.pid in children]
        for record in mine:
            self._tell_to_end(self.records.of(record.model), record)
        for record in mine:
            self._end(self.records.of(record.model), record, "the server ends", asked=True)
        if self._reaper is not None and self._reaper is not threading.current_thread():
            self._reaper.join(60.0)

    # ── looking after them ──

    def _start_reaper(self) -> None:
        with self._lock:
            if self._reaper is None:
                self._reaper = threading.Thread(target=self._reap, name="fleet-reaper", daemon=True)
                self._reaper.start()

    def _reap(self) -> None:
        while not self._closed:
            self._wake.wait(self.limits.reap_every_s)
            self._wake.clear()
            for model, folder in self.records.all():
                if self._closed:
                    return
                try:
                    self._look_after(folder)
                except TonewheelError as error:
                    log.warning("model %s: %s", model, error.message)
                except Exception:
                    log.exception("looking after model %s failed; it is tried again", model)
            self._forget_unnamed()

    def _forget_unnamed(self) -> None:
        """Children that another process ended (`tonewheel stop`): no record names them, so nobody looks after them."""
        ended = self._children.ended()  # before the records are read: one that starts meanwhile is not among them
        named = {record.process.pid for _, folder in self.records.all() if (record := folder.record()) is not None}
        self._children.forget(ended - named)

    def _look_after(self, folder: ModelFolder) -> None:
        """Bury a child that crashed, end one that was idle long enough."""
        record = folder.record()
        if record is None or record.owner != this_process():
            return
        with folder.locked() as held:
            record = folder.record() if held else None
            if record is None or record.owner != this_process():
                return
            if not self._children.alive(record):
                self._known(folder)
                return
            if record.state == "starting":  # whoever wanted it has given up; they may come back soon
                record = self._look_at_loading(folder, record, _silent)
                folder.use(_UNWANTED_S)
            if record.state == "ready":
                trim(folder.log)
                # In this order: a request that ends notes when, then gives up its lease.
                if not folder.leases() and ((use := folder.used()) is None or use.until <= time.time()):
                    self._end(folder, record, "idle")


def _silent(_stage: str, _fraction: float) -> None:
    pass
