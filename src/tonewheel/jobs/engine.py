"""DBOS Transact, and all that is known of it here: the one file that imports it.

Public: configuration, launch, workflow and step decorators, `DBOSClient.enqueue_in_transaction`,
`cancel_workflow`, `delete_workflows`, `migrate`. Private, held by tests and by the pin `dbos==3.4.*`:

- `queue_worker_thread` and `Queue`: DBOS's own queue loop with our own alarm clock. Its queues are rows
  with one concurrency for all workers and are asked at a fixed interval; ours have the slots of this
  worker and are asked when something was submitted (a tenth of the idle cost at a tenth of the latency).
- `reenqueue_for_recovery` and `get_pending_workflows`: give the work of a dead executor back. The public
  `resume_workflow` would reset the count of starts, so poison jobs would never be set aside.
- `_active_workflows_set`: what runs in this process; its count for a queue is corrected by what was claimed and
  has not begun, or a queue asked twice in a moment gets more than its slots.
- `get_internal_queue` and `_BACKGROUND_JOBS_INTERVAL_SEC`: DBOS looks every second for what is never there (work of
  a queue of its own, delayed workflows, workflow timeouts); it was a quarter of what an idle server costs.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from tonewheel.errors import Unavailable
from tonewheel.library import sqlite
from tonewheel.library.database import Database, explained

APP = "tonewheel"
WORKFLOW = "tonewheel.job"
# Recovery takes work of the same version only. It names the order of a job's steps and nothing else,
# so that an upgrade strands no running job: change it when that order changes.
STEPS_VERSION = "1"
_BACKSTOP_STARTS = 50  # ours is counted in the job table; this one only ends what never gets that far
_SAFETY_POLL_S = 20.0
_NEVER_THERE_POLL_S = 4.0  # below the 5 s after which PostgreSQL ends the session that holds DBOS's lock meanwhile
_THREADS = 64
_MANY = 1_000_000  # jobs: more than any worker has slots
_BEGINS_WITHIN_MS = 30_000  # a claimed job that has not begun by then is a stray: `upkeep` gives it back

log = logging.getLogger("tonewheel.jobs")
logging.getLogger("dbos").setLevel(logging.ERROR)


class Interrupted(BaseException):
    """Leaves a workflow without an end: it is given back, cancelled or taken over. Not an Exception,
    so that neither a step nor the workflow records it."""


def queue_of(model: str) -> str:
    """The DBOS queue of a model's jobs."""
    return f"{APP}.{model}"


def _migrate(url: str) -> None:
    try:
        _dbos().migrate(url)
    except sa.exc.SQLAlchemyError as e:
        known = explained(e)
        if known is None:
            raise
        raise known from e


def prepare(database: Database) -> None:
    """Create or migrate DBOS's tables; several processes may do so at once."""
    if database.is_sqlite:
        sqlite.driver()  # under the name DBOS imports
        url = database.engine.url.set(drivername="sqlite").render_as_string(hide_password=False)
        _migrate(url)
        return
    url = database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    # A lock of the session: DBOS migrates on a connection of its own. It is asked for again and again and not waited
    # for: DBOS builds indexes CONCURRENTLY, which waits for every statement under way, so also for one that waits here.
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as c:
        while not c.scalar(sa.text("SELECT pg_try_advisory_lock(hashtext('tonewheel migrate'))")):
            time.sleep(0.1)
        try:
            _migrate(url)
        finally:
            c.execute(sa.text("SELECT pg_advisory_unlock(hashtext('tonewheel migrate'))"))


class Client:
    """What the store needs of DBOS; executes nothing."""

    def __init__(self, database: Database) -> None:
        sqlite_first(database)
        from dbos import DBOSClient  # noqa: PLC0415

        self._client = DBOSClient(
            system_database_engine=database.engine, application_name=APP, serializer=_json(), lazy=True,
            retry_connection_errors=False,
        )  # fmt: skip

    def enqueue(self, c: sa.Connection, job_id: str, model: str, priority: int) -> None:
        """Put a job into its queue, in the caller's transaction. `priority` 0 goes first."""
        self._client.enqueue_in_transaction(
            c,
            {"workflow_name": WORKFLOW, "queue_name": queue_of(model), "workflow_id": job_id, "priority": priority + 1},
            job_id,
        )

    def cancel(self, job_id: str) -> None:
        """Take it out of its queue; what runs notices at its next write. Raises Unavailable, DiskFull."""
        with _known_errors():
            self._client.cancel_workflow(job_id)

    def forget(self, job_ids: list[str]) -> None:
        """Remove the records of ended jobs. Raises Unavailable, DiskFull."""
        with _known_errors():
            self._client.delete_workflows(job_ids)


class Engine:
    """Runs workflows in this process. One a process: DBOS is a singleton."""

    def __init__(
        self, database: Database, *, executor_id: str, slots: Mapping[str, int], run: Callable[[str], None]
    ) -> None:
        self.database = database
        self.executor_id = executor_id
        self._run = run
        self._slots = dict(slots)
        self._alarms = {model: _Alarm() for model in slots}
        self._threads: list[threading.Thread] = []
        self._instance: Any = None

    def launch(self) -> None:
        """Register the workflow, start its threads and take up what this executor left when it died."""
        sqlite_first(self.database)
        from dbos import DBOS  # noqa: PLC0415

        self._instance = DBOS(
            config={
                "name": APP,
                "system_database_url": self.database.engine.url.render_as_string(hide_password=False),
                "system_database_engine": self.database.engine,
                "application_version": STEPS_VERSION,
                "executor_id": self.executor_id,
                "serializer": _json(),
                "use_listen_notify": False,
                "run_migrations": False,
                "log_level": "ERROR",
                "max_executor_threads": _THREADS,
                "scheduler_polling_interval_sec": 3600.0,
            }
        )
        DBOS.workflow(name=WORKFLOW, max_recovery_attempts=_BACKSTOP_STARTS)(_entry(self._run))
        DBOS.listen_queues([])
        self._calm()
        DBOS.launch()
        self._count_claims()
        self._start_queues()

    def _calm(self) -> None:
        """Before the launch: look seldom for what is never there."""
        from dbos import _workflow_commands  # noqa: PLC0415

        _workflow_commands._BACKGROUND_JOBS_INTERVAL_SEC = _NEVER_THERE_POLL_S
        self._instance._registry.get_internal_queue()._polling_interval_sec = _NEVER_THERE_POLL_S

    def _start_queues(self) -> None:
        from dbos._queue import _INTERNAL_QUEUE_CONSTRUCTION, Queue, queue_worker_thread  # noqa: PLC0415

        for model, slots in self._slots.items():
            queue = Queue(
                queue_of(model), worker_concurrency=slots, polling_interval_sec=_SAFETY_POLL_S,
                token=_INTERNAL_QUEUE_CONSTRUCTION,
            )  # fmt: skip
            thread = threading.Thread(
                target=queue_worker_thread, args=(self._alarms[model], self._instance, queue), name=f"queue-{model}",
                daemon=True,
            )  # fmt: skip
            thread.start()
            self._threads.append(thread)

    def _count_claims(self) -> None:
        """Let a claimed job take its slot at once: DBOS counts it when its thread has begun, which may be after the
        queue was asked again."""
        active = self._instance._active_workflows_set
        begun: Callable[[str], int] = active.count_for_queue

        def count(queue: str) -> int:
            try:
                claimed = self._claimed(queue)
            except sa.exc.SQLAlchemyError as e:  # raised here it would end the queue's thread, and nothing would say so
                log.warning("no work is taken from %s now: %s", queue, e)
                return _MANY
            return begun(queue) + len(claimed.difference(active.activeList()))

        active.count_for_queue = count

    def _claimed(self, queue: str) -> set[str]:
        """Jobs of a queue that this executor took a moment ago and has not ended."""
        c = self._status.c
        lately = c.started_at_epoch_ms > round(time.time() * 1000) - _BEGINS_WITHIN_MS
        mine = (c.queue_name == queue, c.executor_id == self.executor_id, c.status == "PENDING", lately)
        with self._instance._sys_db.engine.connect() as connection:
            return set(connection.scalars(sa.select(c.workflow_uuid).where(*mine)))

    def step(self, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Inside a workflow: do `work` once, ever. What it returned is kept, as JSON; it must not raise an
        Exception. Raises Interrupted when this run is no longer the one that counts, Unavailable and
        DiskFull when the result could not be kept."""
        from dbos import DBOS  # noqa: PLC0415
        from dbos._error import DBOSWorkflowCancelledError, DBOSWorkflowConflictIDError  # noqa: PLC0415

        try:
            with _known_errors():
                result: dict[str, Any] = DBOS.run_step({"name": name}, work)
        except (DBOSWorkflowCancelledError, DBOSWorkflowConflictIDError) as e:
            raise Interrupted from e
        return result

    def look(self, model: str) -> None:
        """There may be work for this model: look now."""
        if model in self._alarms:
            self._alarms[model].ring()

    def waiting(self) -> set[str]:
        """Models of this worker that have work waiting."""
        table = self._status
        names = {queue_of(m): m for m in self._slots}
        query = (
            sa.select(table.c.queue_name).distinct().where(table.c.queue_name.in_(names), table.c.status == "ENQUEUED")
        )
        engine = self._instance._sys_db.engine  # the same pool, with DBOS's schema set
        with engine.connect() as c:
            return {names[name] for name in c.scalars(query)}

    def active(self) -> set[str]:
        """Jobs that run in this process."""
        return set(self._instance._active_workflows_set.activeList())

    def pending(self, executor_id: str) -> list[str]:
        """Jobs an executor has taken and not ended, whether it lives or not."""
        found = self._instance._sys_db.get_pending_workflows(executor_id, STEPS_VERSION)
        return [w.workflow_id for w in found]

    def give_back(self, job_id: str, executor_id: str) -> bool:
        """Return a job an executor had taken to its queue; False when it is no longer its."""
        return bool(self._instance._sys_db.reenqueue_for_recovery(job_id, [executor_id], queue_of("composer")))

    def executors(self) -> set[str]:
        """Executors that have taken jobs and not ended them."""
        table = self._status
        query = sa.select(table.c.executor_id).distinct().where(table.c.status == "PENDING")
        with self._instance._sys_db.engine.connect() as c:
            return {e for e in c.scalars(query) if e}

    def ended(self, job_ids: list[str]) -> dict[str, str]:
        """Those of these jobs the engine has ended, and how it calls that."""
        table, found = self._status, {}
        over = ("SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
        with self._instance._sys_db.engine.connect() as c:
            for start in range(0, len(job_ids), 500):
                some = table.c.workflow_uuid.in_(job_ids[start : start + 500])
                query = sa.select(table.c.workflow_uuid, table.c.status).where(some, table.c.status.in_(over))
                found.update({r[0]: r[1] for r in c.execute(query)})
        return found

    @property
    def _status(self) -> Any:
        from dbos._schemas.system_database import SystemSchema  # noqa: PLC0415

        return SystemSchema.workflow_status

    def stop_taking(self) -> None:
        """Take no new work; what runs goes on."""
        for alarm in self._alarms.values():
            alarm.set()
        for thread in self._threads:
            thread.join(timeout=10.0)

    def close(self) -> None:
        """Stop DBOS. What still runs is abandoned."""
        from dbos import DBOS  # noqa: PLC0415

        self.stop_taking()
        DBOS.destroy(workflow_completion_timeout_sec=0, destroy_registry=True)


class _Alarm(threading.Event):
    """The stop event of a queue loop, whose sleep can be cut short."""

    def __init__(self) -> None:
        super().__init__()
        self._rung = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        self._rung.wait(timeout)
        self._rung.clear()
        return self.is_set()

    def set(self) -> None:
        super().set()
        self._rung.set()

    def ring(self) -> None:
        self._rung.set()


@contextlib.contextmanager
def _known_errors() -> Iterator[None]:
    """Faults of the database as our own errors."""
    try:
        yield
    except sa.exc.SQLAlchemyError as e:
        if (known := explained(e)) is not None:
            raise known from e
        raise


def _entry(run: Callable[[str], None]) -> Callable[[str], None]:
    def job(job_id: str) -> None:
        run(job_id)

    return job


def sqlite_first(database: Database) -> None:
    """Before DBOS is imported: an SQLite that is new enough, under the name it imports."""
    if database.is_sqlite:
        sqlite.driver()


def _dbos() -> Any:
    from dbos import DBOS  # noqa: PLC0415

    return DBOS


def _json() -> Any:
    """DBOS pickles by default; whoever could write to the database could then run code in a worker."""
    from dbos import Serializer  # noqa: PLC0415

    class Plain(Serializer):
        def serialize(self, data: Any) -> str:
            return json.dumps(data, default=_told, separators=(",", ":"))

        def deserialize(self, serialized_data: str) -> Any:
            value = json.loads(serialized_data)
            if isinstance(value, dict) and set(value) == {"__error__"}:
                return RuntimeError(value["__error__"])
            return value

        def name(self) -> str:
            return "tonewheel_json"

    return Plain()


def _told(value: object) -> object:
    if isinstance(value, BaseException):
        return {"__error__": f"{type(value).__name__}: {value}"}
    raise TypeError(f"{type(value).__name__} is not plain JSON")


def wait_for_database(database: Database, patience_s: float) -> None:
    """Until the database answers. Raises Unavailable."""
    until = time.monotonic() + patience_s
    while True:
        try:
            database.read(lambda c: c.execute(sa.text("SELECT 1")), patience_s=1.0)
            return
        except Unavailable:
            if time.monotonic() > until:
                raise
