"""A job from its start to its end, as the engine runs it.

A step's result is plain JSON and kept by the engine. What a step raises becomes part of its result: an
error of the user is as final as a song. What cannot be written down (a full disk under the database, a
database that is away) ends this start and not the job, which goes on when there is room.
"""

from __future__ import annotations

import logging
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field

from tonewheel import telemetry
from tonewheel.errors import DiskFull, TonewheelError, Unavailable
from tonewheel.jobs.control import Control
from tonewheel.jobs.engine import Engine, Interrupted
from tonewheel.jobs.making import Making, Tools
from tonewheel.jobs.records import Start
from tonewheel.jobs.steps import Failed, Steps, internal
from tonewheel.jobs.types import JobError
from tonewheel.telemetry import TraceContext

log = logging.getLogger("tonewheel.jobs")


@dataclass
class SongWorkflow:
    """Runs jobs; called by the engine, in a thread each."""

    tools: Tools
    worker_id: str
    max_starts: int
    stopping: Callable[[], bool]
    running: dict[str, str] = field(default_factory=dict)  # starts that run now, and their jobs
    left: set[str] = field(default_factory=set)  # jobs whose start here came to no end: `upkeep` gives them back
    engine: Engine | None = None  # set before the first job; it needs `run` to be made

    def run(self, job_id: str) -> None:
        """Make the song of a job, from the first step that was not done. Raises Interrupted when it is to go on
        elsewhere or later."""
        run = secrets.token_hex(8)
        self.running[run] = job_id
        try:
            # Asked when it is on the list: who ends the worker says so first and then waits for those on the list.
            if self.stopping():
                raise Interrupted
            self._run(job_id, run)
        except Interrupted:
            self.left.add(job_id)
            raise
        finally:
            del self.running[run]

    def _run(self, job_id: str, run: str) -> None:
        try:
            start = self.tools.records.begin(job_id, run, self.worker_id, self.max_starts)
        except (Unavailable, DiskFull) as e:
            log.warning("job %s cannot start now: %s", job_id, e)
            raise Interrupted from e
        if start is None:
            self._release(job_id)
        else:
            log.info("job %s started (attempt %d)", job_id, start.attempts)
            try:
                self._make(start, Control(self.tools.records, start, self.stopping))
            finally:
                shutil.rmtree(self.tools.scratch / run, ignore_errors=True)
        self._clear(job_id)

    def _make(self, start: Start, control: Control) -> None:
        assert self.engine is not None
        attributes = {
            telemetry.JOB_ID: start.job_id, telemetry.REQUEST_MODEL: start.model,
            telemetry.JOB_ATTEMPT: start.attempts,
        }  # fmt: skip
        trace = TraceContext.parse(start.traceparent)
        try:
            with telemetry.span(f"job {start.kind}", kind="consumer", parent=trace, attributes=attributes) as span:
                Making(self.tools, start, control, Steps(self.engine, control, span.context)).make()
        except Failed as e:
            self._end(start, e.error)
        except Interrupted:
            log.info("job %s left", start.job_id)
            raise
        except (Unavailable, DiskFull) as e:
            log.warning("job %s cannot go on now: %s", start.job_id, e)
            raise Interrupted from e
        except Exception:
            self._end(start, internal("the job"))

    def _end(self, start: Start, error: JobError) -> None:
        log.info("job %s failed: %s", start.job_id, error.type)  # a message may quote what was asked
        try:
            ended = self.tools.records.fail(start.job_id, start.run, error)
        except (Unavailable, DiskFull) as e:
            raise Interrupted from e
        if not ended:  # it was cancelled, or somebody else works on it, with the same work files
            raise Interrupted
        self._release(start.job_id)

    def _clear(self, job_id: str) -> None:
        try:
            self.tools.library.storage.clear_work(job_id)
        except TonewheelError as e:  # housekeeping does it later
            log.warning("work files of job %s are left for now: %s", job_id, e)

    def _release(self, job_id: str) -> None:
        try:
            self.tools.library.release(job_id)
        except TonewheelError as e:  # housekeeping does it later
            log.warning("files held for job %s are left for now: %s", job_id, e)
