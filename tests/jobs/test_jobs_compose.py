"""The real thing: a narrative goes in, a real worker has it composed by the fleet, a song comes out."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import soundfile

from freezing import freeze, thaw
from tonewheel.audio.read import decode
from tonewheel.audio.tags import read_tags
from tonewheel.fleet.records import ModelFolder, Records
from tonewheel.jobs.opening import open_jobs
from tonewheel.jobs.request import song_request
from tonewheel.jobs.types import Job
from tonewheel.library.types import Song
from tonewheel.settings import Settings

HERE = Path(__file__).parent
NARRATIVE = "An old lighthouse keeper hums to the sea while the lamp turns."


class Served:
    """A data folder with a composing worker at work in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = Settings(data_dir=folder, min_free_mb=1)
        self.store, self.library = open_jobs(self.settings)
        self.start()

    def start(self) -> None:
        with (self.folder / "worker.err").open("a") as err:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "composing_worker.py"), str(self.folder)],
                stdout=subprocess.PIPE, stderr=err, text=True,
            )  # fmt: skip
        assert self.process.stdout is not None
        told = json.loads(self.process.stdout.readline())
        assert told["pid"] == self.process.pid
        assert told["slots"]["composer"] == 1

    def order(self, **words: Any) -> Job:
        return self.store.submit(song_request(narrative=NARRATIVE, **words))

    def song(self, job: Job, timeout_s: float = 180) -> Song:
        """What a job made."""
        ended = self.store.wait(job.id, timeout_s)
        assert ended.state == "done" and ended.song_id is not None, (ended.error, self.log())
        return self.library.get(ended.song_id)

    def bytes_of(self, song: Song, kind: str) -> bytes:
        artifact = song.artifact(kind)
        assert artifact is not None
        with self.library.open(artifact.id) as (_, file):
            return file.read()

    def helpers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def model(self) -> ModelFolder:
        return Records(self.folder).of("composer")

    def log(self) -> str:
        return (self.folder / "worker.err").read_text()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(tmp_path_factory.mktemp("composing"))
    yield served
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(120) == 0
    served.store.database.close()


def until_rendering(served: Served, job: Job) -> None:
    """Return when it is being rendered: that this begins is always told, how far it is once a second at most."""
    for event in served.store.watch(job.id):
        if event is not None and event.data.get("stage", "").startswith("render"):
            return
        assert event is None or not event.last, served.log()


def frozen_at_work(served: Served, **words: Any) -> Job:
    """A job that is being rendered, its worker stopped meanwhile: however quick it is."""
    for _ in range(10):
        job = served.order(**words)
        until_rendering(served, job)
        freeze(served.process.pid)
        if served.store.get(job.id).state == "running":
            return job
        thaw(served.process.pid)
    raise AssertionError("the jobs end before they are seen to run")


def wait_for(what: Callable[[], bool], timeout_s: float = 120) -> None:
    until = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)


def test_a_song_is_made_and_kept_with_all_that_belongs_to_it(served: Served) -> None:
    job = served.order(duration_s=10, seed=7, midi=True, lrc=True, stems=True)
    song = served.song(job)
    assert (song.model, song.seed, song.licence) == ("composer", 7, "Apache-2.0")
    assert abs(song.duration_s - 10) < 0.5
    assert song.plan is not None
    assert song.analysis["key"] is not None
    assert song.analysis["beats"]["model"] == "onset"
    assert len(song.analysis["beats"]["beats"]) > 8
    kinds = {a.kind for a in song.artifacts}
    assert kinds == {"song", "midi", "lrc", "stem", "plan", "sidecar"}
    stems = [a.name for a in song.artifacts if a.kind == "stem"]
    assert len(stems) >= 2 and all(name.endswith(".flac") for name in stems)
    assert served.bytes_of(song, "midi")[:4] == b"MThd"
    tags = read_tags(served.bytes_of(song, "song"))
    assert json.loads(tags.extra["tonewheel_plan"]) == song.plan
    side = json.loads(served.bytes_of(song, "sidecar"))
    assert side["details"]["style"] and side["details"]["device"] == "cpu"
    wait_for(lambda: not _files(served.folder / "work") and not _files(served.folder / "scratch"))
    assert [s.id for s in served.library.search(words="lighthouse").songs] == [song.id]


def test_it_is_the_song_the_command_line_makes_dithered_once(served: Served, tmp_path: Path) -> None:
    """What the model's process hands over has 24 bits, so the one dither there is, of the same seed, falls on the same
    samples: they are equal but for one in a thousand, which lay within 2^-24 of another step. Dithered twice, at 16
    bits, one in four differs."""
    song = served.song(served.order(duration_s=10, seed=7, format="flac"))
    command = [sys.executable, "-m", "tonewheel.cli.main", "song", NARRATIVE, "-d", "10", "--seed", "7", "-o", "x.flac"]
    subprocess.run([*command, "--quiet"], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    ours, rate = soundfile.read(io.BytesIO(served.bytes_of(song, "song")), dtype="int16")
    theirs, their_rate = soundfile.read(tmp_path / "x.flac", dtype="int16")
    assert (rate, ours.shape) == (their_rate, theirs.shape)
    steps = np.abs(ours.astype(int) - theirs.astype(int))
    assert steps.max() <= 1
    assert (steps > 0).mean() < 0.01


def test_cancel_stops_the_composer_and_the_next_song_has_its_slot(served: Served) -> None:
    job = served.order(duration_s=600, seed=1)
    until_rendering(served, job)
    wait_for(lambda: served.model().leases() > 0)
    process = served.model().live()
    assert process is not None
    served.store.cancel(job.id)
    assert served.store.wait(job.id, 120).state == "cancelled"
    wait_for(lambda: served.model().leases() == 0)
    assert served.song(served.order(duration_s=10, seed=4)).seed == 4
    after = served.model().live()
    assert after is not None and after.process == process.process  # stopped, not killed: it is warm for the next


def test_a_killed_worker_takes_its_processes_along_and_the_song_is_made_all_the_same(served: Served) -> None:
    job = frozen_at_work(served, duration_s=30, seed=2, format="wav")
    orphans = served.helpers()
    assert orphans
    served.process.kill()
    served.process.wait()
    _, alive = psutil.wait_procs(orphans, timeout=120)
    assert not alive
    assert "Traceback" not in served.log()
    served.start()
    song = served.song(job)
    assert served.store.get(job.id).attempts == 2
    assert abs(decode(served.bytes_of(song, "song")).duration_s - 30) < 0.5


def _files(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file()] if folder.exists() else []
