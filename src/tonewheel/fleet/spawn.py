"""Starting a model's process so that it can never outlive this one, and hearing where it listens."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

from tonewheel import lifeline
from tonewheel.announcement import announced
from tonewheel.fleet.memory import Device
from tonewheel.settings import settings

_MAX_LOG = 4_000_000  # bytes; then it begins anew


def service_command(model: str) -> list[str]:
    """How a model is served alone on a free loopback port: `tonewheel service`, without the command line's imports."""
    options = ["--host", "127.0.0.1", "--port", "0", "--json"]
    # -P: a file in the folder where the server was started must not stand in for a module.
    return [sys.executable, "-P", "-m", "tonewheel.lifeline", "tonewheel.serving", model, *options]


class Spawner:
    """Starts processes from one thread that lives as long as this process.

    On Linux a child is killed when the *thread* that started it ends, not the process (see `lifeline`).
    """

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[tuple[Sequence[str], Mapping[str, str], Path, Future[subprocess.Popen[bytes]]]]
        self._orders = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def start(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        """The running child; what it prints goes to `log`, which begins anew. Raises OSError."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="fleet-spawner", daemon=True)
                self._thread.start()
        future: Future[subprocess.Popen[bytes]] = Future()
        self._orders.put((command, environment, log, future))
        return future.result()

    def _work(self) -> None:
        while True:
            command, environment, log, future = self._orders.get()
            try:
                future.set_result(_spawn(command, environment, log))
            except BaseException as error:
                future.set_exception(error)


def _spawn(command: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # the lifeline: it ends when this process ends
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,  # Ctrl-C in a terminal is for the server, which then drains its models
        )


def environment_for(device: Device) -> dict[str, str]:
    """The child's environment: ours, the same data directory, its lifeline, and its own device only."""
    environment = dict(os.environ)
    environment["TONEWHEEL_DATA_DIR"] = str(settings().data_dir.absolute())
    environment[lifeline.VARIABLE] = str(os.getpid())
    environment["PYTHONUNBUFFERED"] = "1"  # its last words must reach the log before it dies
    if device.kind == "cuda":
        environment["CUDA_VISIBLE_DEVICES"] = device.id
    elif device.kind == "rocm":
        environment["HIP_VISIBLE_DEVICES"] = device.id
    elif device.kind == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""  # what is reckoned as RAM must not land on a GPU
    return environment


def listening_port(log: Path) -> int | None:
    """The port the child says it listens on (`{"event": "listening", …}`), None = not yet."""
    with contextlib.suppress(OSError):
        about = announced(log.read_bytes().decode(errors="replace"))  # all: libraries may say a lot before
        if about is not None:
            return int(str(about["url"]).rsplit(":", 1)[1])
    return None


def trim(log: Path) -> None:
    """Empty the log of a model that is ready when it has grown too long; it appends, so it goes on at the start."""
    with contextlib.suppress(OSError):
        if log.stat().st_size > _MAX_LOG:
            os.truncate(log, 0)


def end_hard(pid: int) -> None:
    """SIGKILL to the process and its helpers (it leads a group of its own)."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)


def end_softly(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGTERM)
