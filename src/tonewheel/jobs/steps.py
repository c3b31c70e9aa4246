"""One step of a job: done once, tried again when its fault may pass, its error kept as its result."""

from __future__ import annotations

import errno
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tonewheel import telemetry
from tonewheel.errors import DeadlineExceeded, DiskFull, TonewheelError
from tonewheel.jobs.children import Crashed
from tonewheel.jobs.control import Control
from tonewheel.jobs.engine import Engine, Interrupted
from tonewheel.jobs.types import JobError
from tonewheel.telemetry import TraceContext

log = logging.getLogger("tonewheel.jobs")

Result = dict[str, Any]  # plain JSON
_PAUSES_S = (1.0, 3.0, 10.0, 30.0, 60.0)  # before each further try of a step whose fault may pass
_LONGEST_PAUSE_S = 120.0
_TRIES_OF_A_CRASH = 3
# How much of a job each step is, measured on 60 s songs of the composer.
_SHARES = {
    "plan": (0.0, 0.04), "render": (0.04, 0.80), "check": (0.80, 0.84), "analyse": (0.84, 0.92),
    "finish": (0.92, 0.99), "store": (0.99, 1.0),
}  # fmt: skip


class Failed(Exception):
    """A step ended with an error, now or in an earlier start."""

    def __init__(self, error: JobError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(frozen=True, slots=True)
class Steps:
    """Does the steps of one start of a job."""

    engine: Engine
    control: Control
    trace: TraceContext

    def do(self, name: str, work: Callable[[TraceContext], Result]) -> Result:
        """What `work` returned, now or in an earlier start, and `took_s`. Raises Failed, Interrupted, and
        Unavailable or DiskFull when the result could not be kept."""

        def once() -> Result:
            with telemetry.span(f"step {name}", parent=self.trace) as span:
                outcome = self._outcome(name, lambda: work(span.context))
                if "error" in outcome:
                    span.fail(outcome["error"]["type"])
                return outcome

        outcome = self.engine.step(name, once)
        if "error" in outcome:
            raise Failed(JobError(**outcome["error"]))
        value: Result = outcome["value"]
        return value

    def _outcome(self, name: str, work: Callable[[], Result]) -> Result:
        log.info("job %s: %s", self.control.start.job_id, name)  # one line each time it is really done
        self.control.enter(name, _SHARES[name], long=name == "render")
        began = time.monotonic()
        try:
            value = self._patiently(name, work)
        except TonewheelError as e:
            return {"error": JobError.of(e).model_dump()}
        except OSError as e:
            full = DiskFull("no room left where the song was in the making: free some space and ask again")
            error = JobError.of(full) if e.errno in (errno.ENOSPC, errno.EDQUOT) else internal(name)
            return {"error": error.model_dump()}
        except Exception:
            return {"error": internal(name).model_dump()}
        return {"value": value | {"took_s": round(time.monotonic() - began, 4)}}

    def _patiently(self, name: str, work: Callable[[], Result]) -> Result:
        """Try again what may pass; an error of the user never does."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return work()
            except TonewheelError as e:
                if self.control.cancelled():
                    raise Interrupted from e
                if not _may_pass(e) or attempt > len(_PAUSES_S):
                    raise
                if isinstance(e, Crashed) and attempt >= _TRIES_OF_A_CRASH:
                    raise
                pause = max(_PAUSES_S[attempt - 1], min(getattr(e, "retry_after_s", 0.0), _LONGEST_PAUSE_S))
                log.warning("job %s, %s: %s; again in %.0f s", self.control.start.job_id, name, e.type, pause)
                self.control.retrying(name, attempt, e.told, pause)
                self.control.pause(pause)


def _may_pass(e: TonewheelError) -> bool:
    # By type, for errors that were reported by another process. A full disk does not empty itself and
    # what took too long will do so again: the user is told at once, and asks again when there is reason to.
    return e.retryable and e.type not in (DiskFull.type, DeadlineExceeded.type)


def internal(what: str) -> JobError:
    """A fault of ours, for the user; the log gets the details. Called while it is handled."""
    number = secrets.token_hex(4)
    log.exception("error %s in %s", number, what)
    return JobError(type="internal", message=f"{what} failed by a fault of Tonewheel (error {number} in the log)")
