"""The worker's side of its helper processes (`child.py`): kept warm for a while, killed without regret."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import IO, Any

from tonewheel.errors import Cancelled, DeadlineExceeded, TonewheelError, Unavailable
from tonewheel.jobs.types import JobError

_IDLE_S = 60.0
_LOOK_EVERY_S = 0.1


class Reported(TonewheelError):
    """An error that came from another process, as it was said there."""

    def __init__(self, error: JobError) -> None:
        super().__init__(error.message, param=error.param)
        self.type = error.type  # of the instance: it stands for any class
        self.http_status = error.http_status
        self.retryable = error.retryable


class Crashed(Unavailable):
    """A helper process died while it worked: killed for memory, or a fault in a library."""

    type = "crashed"


class _Child:
    """One helper process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tonewheel.jobs.child"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            encoding="utf-8", start_new_session=True,  # Ctrl-C is for the worker, which lets work finish
        )  # fmt: skip
        self.idle_since = time.monotonic()
        self._said: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True).start()

    def _listen(self, lines: IO[str]) -> None:
        with contextlib.suppress(ValueError, OSError):
            for line in lines:
                self._said.put(json.loads(line))
        self._said.put(None)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, task: str, args: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"task": task, "args": args}) + "\n")
            self._process.stdin.flush()
        except OSError:
            self._said.put(None)

    def answer(self, timeout_s: float) -> dict[str, Any] | None:
        """The next thing it says; {} when it said nothing, None when it has died."""
        try:
            return self._said.get(timeout=timeout_s)
        except queue.Empty:
            return {}

    def end(self) -> int:
        """Kill it; its exit status."""
        self._process.kill()
        code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        return code


class Children:
    """As many helper processes as there are tasks at once. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._closed = False

    def call(
        self,
        task: str,
        args: dict[str, Any],
        *,
        deadline_s: float,
        cancelled: Callable[[], bool],
        progress: Callable[[str, float], None] = lambda _stage, _fraction: None,
    ) -> dict[str, Any]:
        """Have a task of `craft.py` done. Raises what the task raised (Reported), Cancelled,
        DeadlineExceeded, Crashed."""
        child = self._take()
        until = time.monotonic() + deadline_s
        done = False
        try:
            child.ask(task, args)
            while True:
                if cancelled():
                    raise Cancelled("the work was cancelled")
                if time.monotonic() > until:
                    raise DeadlineExceeded(f"the work was stopped: it took longer than {deadline_s:.0f} s")
                said = child.answer(_LOOK_EVERY_S)
                if said is None:
                    raise Crashed(f"a helper process died while it worked ({_cause(child.end())})")
                if "progress" in said:
                    progress(*said["progress"])
                elif "error" in said:
                    done = True
                    raise Reported(JobError(**said["error"]))
                elif "result" in said:
                    done = True
                    result: dict[str, Any] = said["result"]
                    return result
        finally:
            if done:
                self._keep(child)
            else:
                child.end()

    def trim(self, idle_s: float = _IDLE_S) -> None:
        """End the helpers that have had nothing to do for so long."""
        limit = time.monotonic() - idle_s
        with self._lock:
            old = [c for c in self._idle if c.idle_since <= limit]
            self._idle = [c for c in self._idle if c.idle_since > limit]
        for child in old:
            child.end()

    def close(self) -> None:
        self._closed = True
        self.trim(idle_s=-1.0)

    def _take(self) -> _Child:
        with self._lock:
            while self._idle:
                child = self._idle.pop()
                if child.alive:
                    return child
        return _Child()

    def _keep(self, child: _Child) -> None:
        child.idle_since = time.monotonic()
        with self._lock:
            if not self._closed:
                self._idle.append(child)
                return
        child.end()


def _cause(code: int) -> str:
    if code == -9:
        return "killed, perhaps for want of memory"
    return f"signal {-code}" if code < 0 else f"exit status {code}"
