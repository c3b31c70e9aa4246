"""Whether a model fits on a device, and which idle models have to go first."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from tonewheel.errors import OutOfMemory
from tonewheel.fleet.memory import Device, ReadDevices, process_bytes, process_device_bytes, readable
from tonewheel.fleet.records import ModelFolder, Record, Records


class CannotFit(OutOfMemory):
    """A model or a request that has no room, with the figures. Trying again helps only if it could ever fit."""

    def __init__(self, message: str, *, ever: bool) -> None:
        super().__init__(message)
        self.retryable = ever


Check = Callable[[], None]  # raises to give up

# For who decides about an idle model just now: a reaper that looks after it, a request that takes it. Looks, not
# seconds: where the whole machine stands still, nobody has decided meanwhile.
_LOOKS = 100  # every 20 ms


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes a model wants on one of the kinds of device it can run on, the best first."""

    model: str
    kinds: Sequence[str]
    count: int


def candidates(need: Need, devices: Sequence[Device], reserve: int) -> list[Device]:
    """Devices that could hold it if they were empty, the best first: kinds in the card's order, then the freest.

    Raises CannotFit when none could.
    """
    of_kind = [d for kind in need.kinds for d in sorted(devices, key=_free, reverse=True) if d.kind == kind]
    if not of_kind:
        here = ", ".join(sorted({d.kind for d in devices}))
        raise CannotFit(
            f"model {need.model} runs on {' or '.join(need.kinds)} only; this machine has {here}", ever=False
        )
    large = [d for d in of_kind if d.total_bytes is None or need.count + reserve <= d.total_bytes]
    if not large:
        biggest = max(of_kind, key=lambda d: d.total_bytes or 0)
        raise CannotFit(
            f"model {need.model} needs {readable(need.count)} and {readable(reserve)} are kept free; {biggest.label} "
            f"({biggest.name}) has {readable(biggest.total_bytes)} in all: choose a smaller model, or less at once",
            ever=False,
        )
    return large


def fits(count: int, device: Device, reserve: int, promised: int) -> bool:
    """Whether `count` more bytes fit now; `promised` is what models being loaded have not taken yet."""
    return device.free_bytes is None or count + reserve + promised <= device.free_bytes


def no_room(need: Need, device: Device, reserve: int, promised: int, ours: Iterable[Record]) -> CannotFit:
    """The refusal, with what holds the memory."""
    used = device.used_bytes
    names = ", ".join(sorted(record.model for record in ours)) or "none of ours"
    waiting = f", {readable(promised)} are promised to models being loaded" if promised else ""
    return CannotFit(
        f"model {need.model} needs {readable(need.count)} on {device.label} ({device.name}): "
        f"{readable(device.free_bytes)} of {readable(device.total_bytes)} are free{waiting}, {readable(used)} are used "
        f"(models there that cannot be ended: {names}), {readable(reserve)} are kept free: "
        f"end something, or try again later",
        ever=True,
    )


def enough_to_end(
    need: Need, device: Device, reserve: int, promised: int, idle: Sequence[Record], held: Callable[[Record], int]
) -> bool:
    """Whether ending all of `idle` would make room: nothing is ended in vain."""
    if device.free_bytes is None:
        return True
    return need.count + reserve + promised <= device.free_bytes + sum(held(record) for record in idle)


class Room:
    """Makes room on this machine's devices. `end(folder, record, reason)` ends an idle model's process."""

    def __init__(
        self, records: Records, devices: ReadDevices, reserve: int, end: Callable[[ModelFolder, Record, str], object]
    ) -> None:
        self._records, self._devices, self._reserve, self._end = records, devices, reserve, end

    def make_for(self, need: Need, check: Check, claim: Callable[[Device], Record]) -> Record:
        """Let `claim` take a device with room; idle models are ended for it, the longest unused first.

        Finding room and claiming it are one decision, also among several fleets: two models being started at the
        same moment never count on the same memory.
        """
        while True:
            check()
            with self._records.deciding(check):
                possible = candidates(need, self._devices(), self._reserve)
                for device in possible:
                    if fits(need.count, device, self._reserve, self._promised(device)):
                        return claim(device)
            busy = self._busy(need, possible[0])
            if not any(self._make_room(need, device) for device in possible):
                self._wait_or_refuse(need, possible[0], busy)

    def make_to_grow(self, need: Need, idle_count: int, record: Record, check: Check) -> None:
        """Room on the device a model is on, for what its next request takes beyond what it holds idle."""
        growth = replace(need, count=max(0, need.count - idle_count))
        while growth.count:
            check()
            device = next((d for d in self._devices() if on(d, record)), None)
            if device is None or fits(growth.count, device, self._reserve, self._promised(device)):
                return
            candidates(replace(need, kinds=(device.kind,)), [device], self._reserve)
            busy = self._busy(growth, device)
            if not self._make_room(growth, device):
                self._wait_or_refuse(growth, device, busy)

    def _make_room(self, need: Need, device: Device) -> bool:
        """End one idle model of this device, if ending all of them would be enough; whether to look again: one was
        ended, or one of them is used by now."""
        idle = self._idle(device, besides=need.model)
        promised = self._promised(device)
        if not idle or not enough_to_end(need, device, self._reserve, promised, idle, _held):
            return False
        used_by_now = False
        for record in idle:
            folder = self._records.of(record.model)
            # It is waited for: passed over, a model used later would be ended instead, or room refused that there is.
            with contextlib.suppress(_StillDeciding), folder.locked(_at_most(_LOOKS)):
                current = folder.live()
                if current is None or current.process != record.process or folder.leases():
                    used_by_now = True
                    continue
                self._end(folder, current, f"room for {need.model}")
                return True
        return used_by_now

    def _busy(self, need: Need, device: Device) -> bool:
        """Whether a model on the device works, is being loaded or is ending. Asked before room is made: what has come
        to its end meanwhile is seen as idle there."""
        there = [r for r in self._records.live() if on(device, r) and r.model != need.model]
        return any(r.state != "ready" or self._records.of(r.model).leases() for r in there)

    def _wait_or_refuse(self, need: Need, device: Device, busy: bool) -> None:
        """Wait a little when a model of ours that works there will make room; raise CannotFit otherwise."""
        ours = [r for r in self._records.live() if on(device, r) and r.model != need.model]
        promised = self._promised(device)
        refusal = no_room(need, device, self._reserve, promised, ours)
        if not busy or not enough_to_end(need, device, self._reserve, 0, ours, _held):
            raise refusal
        time.sleep(0.2)

    def _idle(self, device: Device, besides: str) -> list[Record]:
        """Idle models on a device, the longest unused first."""
        found = []
        for record in self._records.live():
            folder = self._records.of(record.model)
            if record.model != besides and record.state == "ready" and on(device, record) and not folder.leases():
                use = folder.used()
                found.append((use.at if use else 0.0, record))
        return [record for _, record in sorted(found, key=lambda pair: pair[0])]

    def _promised(self, device: Device) -> int:
        """What models being loaded on the device will still take."""
        starting = [r for r in self._records.live() if r.state == "starting" and on(device, r)]
        return sum(max(0, r.need_bytes - (process_device_bytes(r.process.pid, device) or 0)) for r in starting)


class _StillDeciding(Exception):
    """Somebody holds the lock of a model for long."""


def _at_most(looks: int) -> Check:
    """What raises _StillDeciding when it is called once more than so often."""
    left = itertools.count(looks, -1)

    def check() -> None:
        if next(left) <= 0:
            raise _StillDeciding

    return check


def on(device: Device, record: Record) -> bool:
    """Whether a process runs on that device."""
    return device.label == record.device and device.id == record.device_id


def _held(record: Record) -> int:
    """What ending a model gives back: the larger of what its card says and what its process is seen to hold."""
    seen = process_bytes(record.process.pid) if record.device == "cpu" else None
    return max(record.need_bytes, seen or 0)


def _free(device: Device) -> int:
    return -1 if device.free_bytes is None else device.free_bytes
