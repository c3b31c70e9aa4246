"""This side of the decoders: hand one a file, wait for its samples, and say what became of it."""

from __future__ import annotations

import json
import logging
import mmap
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from tonewheel.audio.incoming.limits import Limits, Task
from tonewheel.audio.sound import Sound
from tonewheel.errors import OutOfMemory, TonewheelError, TooLarge, Unavailable, UnreadableAudio

log = logging.getLogger(__name__)
Check = Callable[[], None]

_LOOK_EVERY_S = 0.1
_GRACE_S = 10.0  # after the decoder's own clock should have ended it
_AT_ONCE = max(2, os.cpu_count() or 2)
_REPORT_BYTES = 64 * 1024
_MODULE = "tonewheel.audio.incoming.nursery"


class Nursery:
    """The process that forks decoders; started at first use, once a process, and again if it died. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._turns = threading.Semaphore(_AT_ONCE)

    def warm(self) -> None:
        """Start it now, so that the first file need not wait."""
        with self._lock:
            self._connection()

    def decode(self, source: int, task: Task, check: Check) -> Sound:
        """The audio of the open file `source`, decoded elsewhere. Blocks; `check` raises to give up."""
        with self._turn(check), scratch() as out:
            report = self._order(source, task, out)
            try:
                said = _hear(report, task.limits.wall_s + _GRACE_S, check)
            finally:
                os.close(report)
            return _sound(said, task.name, task.limits, out)

    @contextmanager
    def _turn(self, check: Check) -> Iterator[None]:
        while not self._turns.acquire(timeout=_LOOK_EVERY_S):
            check()
        try:
            yield
        finally:
            self._turns.release()

    def _order(self, source: int, task: Task, out: int) -> int:
        """Where the decoder reports."""
        reader, writer = os.pipe()
        try:
            with self._lock:
                for last in (False, True):
                    try:
                        socket.send_fds(self._connection(), [task.packed()], [source, out, writer])
                        break
                    except OSError:
                        self._forget()
                        if last:
                            raise Unavailable("the process that decodes audio does not start: try again") from None
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        return reader

    def _connection(self) -> socket.socket:
        if self._orders is not None and self._owner == os.getpid():
            assert self._process is not None
            if self._process.poll() is None:
                return self._orders
            log.warning("the process that decodes audio ended (%s): another is started", self._process.returncode)
            self._forget()
        self._orders, theirs = socket.socketpair()
        try:
            # -P: a file in the folder where the server was started must not stand in for a module.
            command = [sys.executable, "-P", "-m", _MODULE]
            self._process = subprocess.Popen(
                command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env=_environment(), start_new_session=True
            )
        finally:
            theirs.close()
        self._owner = os.getpid()
        return self._orders

    def _forget(self) -> None:
        if self._orders is not None:
            self._orders.close()
        if self._process is not None:
            with suppress(ChildProcessError):
                self._process.poll()
        self._orders = self._process = None


_KEPT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")


def _environment() -> dict[str, str]:
    """What Python needs to find this package, and nothing else: keys and passwords stay here."""
    kept: dict[str, str] = {
        k: v for k, v in os.environ.items() if k in ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")
    }
    return kept | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@contextmanager
def scratch() -> Iterator[int]:
    """A nameless file: in memory on Linux, else on disk. What is mapped of it stays after it is closed."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("tonewheel-samples")
        try:
            yield fd
        finally:
            os.close(fd)
    else:
        with tempfile.TemporaryFile() as file:
            yield file.fileno()


def _hear(report: int, patience_s: float, check: Check) -> dict[str, Any]:
    """What the decoder says first, or how it died; {} when it said nothing. Raises what `check` raises."""
    heard = b""
    until = time.monotonic() + patience_s
    poll = select.poll()  # not select(), which takes no descriptor above 1023
    poll.register(report, select.POLLIN)
    while time.monotonic() < until and len(heard) < _REPORT_BYTES:
        check()
        if not poll.poll(_LOOK_EVERY_S * 1000):
            continue
        piece = os.read(report, 4096)
        heard += piece
        if not piece or _said(heard) is not None:
            break
    return _said(heard) or {}


def _said(heard: bytes) -> dict[str, Any] | None:
    """The first object of `heard`; None when there is not all of it. Further ones tell of how the process ended."""
    try:
        said, _ = json.JSONDecoder().raw_decode(heard.decode())
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def _sound(said: dict[str, Any], name: str, limits: Limits, out: int) -> Sound:
    facts = said.get("sound")
    if isinstance(facts, dict):
        return _mapped(facts, out)
    raise _fault(said, name, limits)


def _mapped(facts: dict[str, Any], out: int) -> Sound:
    # A decoder that a file took over may say anything: the numbers must fit what is there.
    frames, channels = int(facts["frames"]), int(facts["channels"])
    size = frames * channels * 4
    if frames < 1 or channels < 1 or size > os.fstat(out).st_size:
        raise TonewheelError("a decoder told more samples than it wrote")
    memory = mmap.mmap(out, size, access=mmap.ACCESS_COPY)
    samples = np.frombuffer(memory, np.float32, frames * channels).reshape(frames, channels)
    rates = int(facts["rate"]), int(facts["source_rate"])
    return Sound(samples, rates[0], str(facts["format"])[:60], rates[1], int(facts["source_channels"]))


_BROKEN = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL}


def _fault(said: dict[str, Any], name: str, limits: Limits) -> TonewheelError:
    message = str(said.get("message", ""))
    match said.get("error"):
        case "unreadable_audio":
            return UnreadableAudio(message)
        case "too_large":
            return TooLarge(message)
        case "internal":
            log.error("a decoder failed: %s", message)
            return TonewheelError(f"{name} could not be decoded: a fault of ours, which was logged")
    died = said.get("died")
    if died in (signal.SIGALRM, signal.SIGXCPU):
        return TooLarge(f"{name} takes longer than {limits.cpu_s} s to decode: cut it, or send WAV or FLAC")
    if died in _BROKEN:
        # Native code that gets no more memory ends likewise: nothing tells the two apart.
        return UnreadableAudio(
            f"{name} breaks the decoder ({signal.Signals(died).name}), or takes too much memory to decode: export it "
            "again, or cut it"
        )
    if died == signal.SIGKILL:
        return OutOfMemory(f"the decoder of {name} was killed, perhaps for want of memory: try again later")
    return Unavailable(f"the decoder of {name} ended without a word: try again")


NURSERY = Nursery()
