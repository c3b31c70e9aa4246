"""The real thing: a narrative goes in, a real worker composes, a song comes out."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tonewheel.audio.read import decode
from tonewheel.audio.tags import read_tags
from tonewheel.jobs.opening import open_jobs
from tonewheel.jobs.request import song_request
from tonewheel.jobs.store import JobStore
from tonewheel.library.songs import Library
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
        with (self.folder / "worker.err").open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "composing_worker.py"), str(self.folder)],
                stdout=subprocess.PIPE, stderr=err, text=True,
            )  # fmt: skip
        assert self.process.stdout is not None
        told = json.loads(self.process.stdout.readline())
        assert told["pid"] == self.process.pid
        assert told["slots"] == {"composer": 1}

    def helpers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(tmp_path_factory.mktemp("composing"))
    yield served
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(20) == 0
    served.store.database.close()


def until_rendering(store: JobStore, job_id: str) -> None:
    for event in store.watch(job_id):
        if event is not None and event.data.get("stage", "").startswith("render: "):
            return
        assert event is None or not event.last


def test_a_song_is_made_and_kept_with_all_that_belongs_to_it(served: Served) -> None:
    request = song_request(narrative=NARRATIVE, duration_s=10, seed=7, midi=True, lrc=True, stems=True)
    job = served.store.wait(served.store.submit(request).id, 60)
    assert job.state == "done", job.error
    assert job.song_id is not None
    song = served.library.get(job.song_id)
    assert song.model == "composer"
    assert song.seed == 7
    assert abs(song.duration_s - 10) < 0.5
    assert song.plan is not None
    assert song.analysis["key"] is not None
    kinds = {a.kind for a in song.artifacts}
    assert kinds == {"song", "midi", "lrc", "stem", "plan", "sidecar"}
    stems = [a.name for a in song.artifacts if a.kind == "stem"]
    assert len(stems) >= 2
    assert "drums" not in stems[0] or stems[0].endswith(".flac")
    assert _bytes(served.library, song.artifact("midi"))[:4] == b"MThd"  # type: ignore[arg-type]
    tags = read_tags(_bytes(served.library, song.artifact("song")))  # type: ignore[arg-type]
    assert json.loads(tags.extra["tonewheel_plan"]) == song.plan
    until = time.monotonic() + 5
    while any(f.exists() and any(f.iterdir()) for f in (served.folder / "work", served.folder / "scratch" / job.id)):
        assert time.monotonic() < until, "nothing is left in the making"
    assert [s.id for s in served.library.search(words="lighthouse").songs] == [song.id]


def test_it_is_the_same_song_as_the_command_line_makes(served: Served, tmp_path: Path) -> None:
    request = song_request(narrative=NARRATIVE, duration_s=10, seed=7, format="flac")
    job = served.store.wait(served.store.submit(request).id, 60)
    assert job.song_id is not None, job.error
    command = [sys.executable, "-m", "tonewheel.cli.main", "song", NARRATIVE, "-d", "10", "--seed", "7", "-o", "x.flac"]
    subprocess.run([*command, "--quiet"], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    stored = _bytes(served.library, served.library.get(job.song_id).artifact("song"))  # type: ignore[arg-type]
    assert stored == (tmp_path / "x.flac").read_bytes()


def test_cancel_kills_the_composing_process_at_once(served: Served) -> None:
    job = served.store.submit(song_request(narrative=NARRATIVE, duration_s=600, seed=1))
    until_rendering(served.store, job.id)
    busy = served.helpers()
    began = time.monotonic()
    served.store.cancel(job.id)
    psutil.wait_procs(busy, timeout=5, callback=None)
    assert time.monotonic() - began < 3
    assert not any(p.is_running() for p in busy)


def test_helpers_die_with_their_worker_and_the_song_is_made_all_the_same(served: Served) -> None:
    job = served.store.submit(song_request(narrative=NARRATIVE, duration_s=20, seed=2, format="wav"))
    until_rendering(served.store, job.id)
    orphans = served.helpers()
    served.process.kill()
    served.process.wait()
    gone, alive = psutil.wait_procs(orphans, timeout=5)
    assert gone
    assert not alive
    served.start()
    ended = served.store.wait(job.id, 90)
    assert (ended.state, ended.attempts) == ("done", 2)
    assert ended.song_id is not None
    audio = decode(_bytes(served.library, served.library.get(ended.song_id).artifact("song")))  # type: ignore[arg-type]
    assert abs(audio.duration_s - 20) < 0.5


def _bytes(library: Library, artifact: object) -> bytes:
    with library.open(artifact.id) as (_, file):  # type: ignore[attr-defined]
        data = io.BytesIO(file.read())
    return data.getvalue()
