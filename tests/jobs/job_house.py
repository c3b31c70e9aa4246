"""A house for job tests: a database, a store, and real worker processes to kill."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from freezing import freeze, thaw
from tonewheel.jobs.request import song_request
from tonewheel.jobs.store import JobStore
from tonewheel.jobs.types import Job
from tonewheel.library import sqlite
from tonewheel.library.database import Database
from tonewheel.library.songs import Library
from tonewheel.library.storage import FolderStorage

HERE = Path(__file__).parent
THOROUGH = bool(os.environ.get("TONEWHEEL_THOROUGH"))


@dataclass
class WorkerProcess:
    """A worker in a process of its own, with the fake renderer."""

    process: subprocess.Popen[str]
    log: Path

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self, timeout_s: float = 120.0) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def says(self, words: str) -> bool:
        """Whether its log has them."""
        return words in self.log.read_text()

    @property
    def running(self) -> bool:
        return self.process.poll() is None


@dataclass
class House:
    """Where a test lives."""

    folder: Path
    url: str
    store: JobStore
    library: Library
    marks_dir: Path
    storage_url: str = ""
    environment: dict[str, str] = field(default_factory=dict)  # of its workers
    workers: list[WorkerProcess] = field(default_factory=list)

    def worker(self, *options: str, data_dir: str = "data", wait: bool = True) -> WorkerProcess:
        """Start a worker. All share one storage and one folder of marks; `data_dir` is its own."""
        log = self.marks_dir / f"worker{len(self.workers)}.err"
        storage = self.storage_url or f"file://{self.folder / 'storage'}"
        command = [
            sys.executable, str(HERE / "fake_renderer.py"), str(self.folder / data_dir), "--database", self.url,
            "--storage", storage, "--marks", str(self.marks_dir), *options,
        ]  # fmt: skip
        with log.open("w") as err:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=err, text=True, env=os.environ | self.environment
            )
        worker = WorkerProcess(process, log)
        self.workers.append(worker)
        if wait:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", log.read_text()
        return worker

    def order(self, script: str = "steps=1", *, model: str = "fake", duration_s: float = 1.0, **more: object) -> Job:
        values = {k: more.pop(k) for k in ("seed", "title", "format", "lyrics", "keep_alive") if k in more}
        request = song_request(prompt=script or "steps=1", model=model, duration_s=duration_s, **values)
        return self.store.submit(request, **more)  # type: ignore[arg-type]

    def marks(self, job: Job) -> list[str]:
        """What the fake renderer and planner did for a job, in order."""
        return [what for what, _, _ in self.marked(job)]

    def marked(self, job: Job) -> list[list[str]]:
        """The same with the process and the time of day: [what, pid, seconds]."""
        path = self.marks_dir / f"{job.id}.log"
        lines = path.read_text().split("\n")[:-1] if path.exists() else []  # without a line that is being written
        return [line.split() for line in lines]

    def held(self, *jobs: Job) -> bool:
        """Whether they have come to the `hold=NAME` of their scripts, and are rendered until NAME is let go."""
        return all("held" in self.marks(job) for job in jobs)

    def let_go(self, name: str) -> None:
        (self.marks_dir / name).touch()

    def freeze(self, worker: WorkerProcess) -> None:
        """Stop its process, but not in the middle of a transaction: an SQLite file would be locked as long as it lies
        frozen, and no other worker could do anything."""
        for _ in range(100):
            freeze(worker.process.pid)
            if not self.store.database.is_sqlite or self._writable():
                return
            thaw(worker.process.pid)
            time.sleep(0.05)
        raise AssertionError("it writes all the time")

    def _writable(self) -> bool:
        with contextlib.closing(sqlite.driver().connect(self.store.database.file, timeout=1.0)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite.driver().OperationalError:
                return False
            return True

    def until(self, what: Callable[[], bool], timeout_s: float = 120.0) -> None:
        until = time.monotonic() + timeout_s
        while not what():
            if time.monotonic() > until:
                logs = "\n".join(f"--- {w.log.name}\n{w.log.read_text()}" for w in self.workers)
                raise AssertionError(f"it did not happen in {timeout_s} s\n{logs}")
            time.sleep(0.05)

    def ended(self, job: Job, timeout_s: float = 120.0) -> Job:
        """The job when it has ended."""
        self.until(lambda: self.store.get(job.id).ended, timeout_s)
        return self.store.get(job.id)


def open_house(folder: Path, url: str, marks_dir: Path | None = None) -> Iterator[House]:
    """A house to live in; what still runs at the end is killed."""
    marks = marks_dir or folder / "marks"
    marks.mkdir(parents=True, exist_ok=True)
    database = Database.open(url)
    # No test sees by this that a worker is dead; one that lives must not seem so because the machine is busy.
    store = JobStore(database, queue_limit=1000, dead_after_s=120.0)
    store.create_tables()
    house = House(folder, url, store, Library(database, FolderStorage(folder / "storage")), marks)
    yield house
    for worker in house.workers:
        if worker.running:
            worker.signal(signal.SIGCONT)
            worker.kill()
    database.close()
