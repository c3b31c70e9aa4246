"""`tonewheel serve`: the gateway and its workers as child processes, started again when they die.

This process only watches. It holds the listening socket, so that a gateway that is started again loses no
connection that was waiting, and its children die with it (`lifeline`), so that nothing is left behind.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tonewheel import lifeline
from tonewheel.announcement import announced
from tonewheel.serving.address import tcp_socket, url_of

log = logging.getLogger("tonewheel.serve")

_LOOK_S = 0.2  # also how soon a signal is noticed
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 30.0
_FINE_AFTER_S = 10.0  # who ran so long starts again with the shortest pause
_START_S = 180.0  # the gateway needs two; a small machine that is busy has taken 25
_AFTER_DRAIN_S = 30.0
_A_LOOK_S = 0.5  # as much of a wait counts for one look, however long it took
_HAS_FDS = os.name == "posix"


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What `tonewheel serve` was asked."""

    host: str
    port: int
    workers: int
    data_dir: Path
    drain_s: float = 60.0
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class _Child:
    """One process that is to run."""

    name: str
    command: Sequence[str]
    environment: dict[str, str]
    fds: tuple[int, ...] = ()
    on_line: Callable[[str], None] | None = None  # what it prints
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    again_at: float = 0.0
    pause_s: float = 0.0

    def start(self) -> None:
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE if self.on_line else sys.stderr.fileno(),
            env=self.environment, pass_fds=self.fds,
            start_new_session=True,  # Ctrl-C is for us: we drain them
        )  # fmt: skip
        if self.on_line is not None:
            threading.Thread(target=self._read, args=(self.process, self.on_line), daemon=True).start()

    @staticmethod
    def _read(process: subprocess.Popen[bytes], on_line: Callable[[str], None]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            on_line(line.decode("utf-8", "replace").rstrip())

    def look(self) -> None:
        """Start it again when it has died, after a pause that grows."""
        now = time.monotonic()
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return
            fine = now - self.started_at > _FINE_AFTER_S
            self.pause_s = _FIRST_PAUSE_S if fine or not self.pause_s else min(_LONGEST_PAUSE_S, self.pause_s * 2)
            log.warning("%s ended (%s): started again in %.1f s", self.name, _ended(code), self.pause_s)
            self._let_go()
            self.again_at = now + self.pause_s
        if now >= self.again_at:
            self.start()

    def tell(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """It and its helpers; it leads a group of its own."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if _HAS_FDS:
                    os.killpg(self.process.pid, signal.SIGKILL)
                else:
                    self.process.kill()
            self.process.wait()

    def _let_go(self) -> None:
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
        self.process = None


def _ended(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


class _Patience:
    """A wait in looks. Time in which this process did not run does not count: its children did not run either, on a
    machine that is busy beyond measure or when everything was stopped."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._looked_at = time.monotonic()

    def lasts(self) -> bool:
        """Whether to wait on; asked at each look."""
        now = time.monotonic()
        self._left -= min(now - self._looked_at, _A_LOOK_S)
        self._looked_at = now
        return self._left > 0


class Supervisor:
    """The whole server on this machine."""

    def __init__(self, options: ServeOptions) -> None:
        """Binds the address. Raises BindRefused."""
        self._options = options
        self._listening = tcp_socket(options.host, options.port)
        self.url = url_of(self._listening)
        self._ready = threading.Event()
        self._wake = threading.Event()
        self._signals = 0
        environment = {**os.environ, **options.environment, "TONEWHEEL_DATA_DIR": str(options.data_dir.absolute())}
        environment |= {lifeline.VARIABLE: str(os.getpid()), "PYTHONUNBUFFERED": "1"}
        environment.setdefault("MALLOC_ARENA_MAX", "2")  # glibc: threads that only wait would each keep a heap
        self._gateway = _Child("gateway", self._gateway_command(), environment, self._fds(), self._heard)
        worker = [sys.executable, "-m", "tonewheel.lifeline", "tonewheel.cli.main", "worker"]
        names = [f"worker {n}" for n in range(1, options.workers + 1)]
        self._workers = [_Child(name, worker, environment) for name in names]

    def run(self, on_ready: Callable[[Supervisor], None]) -> int:
        """Serve until SIGTERM or SIGINT; the exit code. `on_ready` is called when the gateway listens."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signal)
        try:
            code = self._begin()
            if code is not None:
                return code
            on_ready(self)
            while not self._signals:
                for child in (self._gateway, *self._workers):
                    child.look()
                self._pause(_LOOK_S)
            return self._drain()
        finally:
            for child in (self._gateway, *self._workers):
                child.kill()
            self._listening.close()

    def about(self) -> dict[str, Any]:
        """What a program that started it wants to know."""
        pids = [w.process.pid for w in self._workers if w.process]
        gateway = self._gateway.process.pid if self._gateway.process else None
        return {"event": "listening", "url": self.url, "pid": os.getpid(), "gateway_pid": gateway, "worker_pids": pids,
                "data_dir": str(self._options.data_dir)}  # fmt: skip

    def _begin(self) -> int | None:
        """Start the gateway, then the workers. The exit code when the gateway refuses: it has said why."""
        if not self._fds():
            self._listening.close()
        self._gateway.start()
        patience = _Patience(_START_S)
        while not self._ready.is_set():
            process = self._gateway.process
            assert process is not None
            if process.poll() is not None:
                return process.returncode or 1
            if self._signals:
                return 0
            if not patience.lasts():
                log.error("the gateway did not begin to listen in %.0f s", _START_S)
                return 1
            self._pause(0.02)
        for worker in self._workers:
            worker.start()
        return None

    def _drain(self) -> int:
        """Let running work end, or give it back to the queue; a second signal does not wait."""
        children = (self._gateway, *self._workers)
        log.info("ending: running songs may take %.0f s more", self._options.drain_s)
        for child in children:
            child.tell(signal.SIGTERM)
        told = self._signals
        patience = _Patience(self._options.drain_s + _AFTER_DRAIN_S)
        while any(c.runs() for c in children) and patience.lasts():
            if self._signals > told:
                told = self._signals
                for child in children:
                    child.tell(signal.SIGTERM)
            self._pause(0.05)
        return 0

    def _pause(self, seconds: float) -> None:
        self._wake.wait(seconds)
        self._wake.clear()

    def _signal(self, _number: int, _frame: object) -> None:
        # Counted only: to set `_wake` takes its lock, which the frame that is interrupted may hold, for ever then.
        self._signals += 1

    def _heard(self, line: str) -> None:
        if announced(line) is not None:
            self._ready.set()
            self._wake.set()

    def _fds(self) -> tuple[int, ...]:
        return (self._listening.fileno(),) if _HAS_FDS else ()

    def _gateway_command(self) -> list[str]:
        port = self._listening.getsockname()[1]
        command = [sys.executable, "-m", "tonewheel.lifeline", "tonewheel.gateway"]
        command += ["--host", self._options.host, "--port", str(port)]
        return [*command, "--fd", str(self._fds()[0])] if self._fds() else command
