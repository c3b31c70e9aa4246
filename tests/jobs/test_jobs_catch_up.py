"""Songs made before a model for embeddings was here are heard when nothing else is to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fake_renderer import FakePlanner, FakeRenderer, tone
from job_house import House

from tonewheel.errors import Cancelled, OutOfMemory, UnreadableAudio
from tonewheel.jobs import catch_up
from tonewheel.jobs.catch_up import CatchUp
from tonewheel.jobs.children import Children
from tonewheel.jobs.worker import Worker, WorkerSettings
from tonewheel.library.types import NewArtifact, NewSong
from tonewheel.library.vectors import Vectors


class Ears(FakeRenderer):
    """They hear the same in everything; `during` is called while they listen."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, {"none": 1})
        self.model: str | None = "ears"
        self.heard = 0
        self.during: Callable[[Callable[[], bool]], None] = lambda _cancelled: None

    def embeds(self) -> str | None:
        return self.model

    def embed(self, audio: Path, *, deadline_s: float, cancelled: Callable[[], bool]) -> list[float]:
        assert audio.read_bytes()[:4] == b"fLaC"
        self.during(cancelled)
        self.heard += 1
        return [1.0, 0.0]

    def tracks(self) -> str | None:
        return None

    def track(self, audio: Path, *, deadline_s: float, cancelled: Callable[[], bool]) -> Mapping[str, Any]:
        raise AssertionError("nobody tracks beats here")


class Idle:
    """A house with nothing to do, and who listens in it."""

    def __init__(self, house: House, ears: Ears, children: Children, scratch: Path) -> None:
        self.library, self.ears, self.busy = house.library, ears, False
        self.vectors = Vectors(house.library.database)
        self.catch_up = CatchUp(house.library, ears, children, scratch, busy=lambda: self.busy)

    def song(self, audio: bool = True) -> str:
        files = (NewArtifact("song", "song.wav", "audio/wav", tone(0.2)),) if audio else ()
        new = NewSong(title="A", model="composer", seed=1, duration_s=0.2, format="wav", files=files)
        return self.library.add(new).id

    def all_heard(self) -> int:
        """Songs gone through until there are no more."""
        count = 0
        while self.catch_up.hear_one():
            count += 1
        return count


@contextmanager
def doing_nothing(house: House, folder: Path) -> Iterator[Idle]:
    children = Children()
    scratch = folder / "scratch"
    scratch.mkdir()
    yield Idle(house, Ears(folder / "marks"), children, scratch)
    children.close()
    assert list(scratch.iterdir()) == []


@pytest.fixture
def idle(sqlite_house: House, tmp_path: Path) -> Iterator[Idle]:
    with doing_nothing(sqlite_house, tmp_path) as house:
        yield house


def test_songs_nobody_heard_are_found_afterwards(house: House, tmp_path: Path) -> None:
    with doing_nothing(house, tmp_path) as idle:
        _found_afterwards(idle)


def _found_afterwards(idle: Idle) -> None:
    idle.song(audio=False)
    old, known = idle.song(), idle.song()
    idle.vectors.put(known, "ears", [0.0, 1.0])
    assert [n.song_id for n in idle.vectors.nearest([1, 0], "ears", 5)] == [known]
    assert idle.all_heard() == 1
    assert [n.song_id for n in idle.vectors.nearest([1, 0], "ears", 5)] == [old, known]
    assert not idle.catch_up.hear_one() and idle.ears.heard == 1  # nothing is heard twice


def test_without_a_model_or_time_nothing_is_heard(idle: Idle) -> None:
    song = idle.song()
    idle.ears.model = None
    assert not idle.catch_up.hear_one()
    idle.ears.model, idle.busy = "ears", True
    assert not idle.catch_up.hear_one() and idle.ears.heard == 0
    idle.busy = False
    assert idle.catch_up.hear_one() and idle.vectors.of(song, "ears") is not None


def test_another_model_hears_all_anew(idle: Idle) -> None:
    song = idle.song()
    assert idle.all_heard() == 1
    idle.ears.model = "better ears"
    assert idle.all_heard() == 1
    assert idle.vectors.of(song, "ears") is not None and idle.vectors.of(song, "better ears") is not None


def test_a_job_that_comes_goes_before(idle: Idle) -> None:
    song = idle.song()

    def come(cancelled: Callable[[], bool]) -> None:
        idle.busy = True
        assert cancelled()
        raise Cancelled("a job has come")

    idle.ears.during = come
    assert not idle.catch_up.hear_one() and idle.vectors.of(song, "ears") is None
    idle.busy, idle.ears.during = False, lambda _: None
    assert idle.all_heard() == 1 and idle.vectors.of(song, "ears") is not None


def test_one_that_cannot_be_heard_holds_up_no_other(idle: Idle) -> None:
    first, broken = idle.song(), idle.song()
    faults: list[Exception] = [UnreadableAudio("it is no audio"), OutOfMemory("not now")]

    def fail(_cancelled: Callable[[], bool]) -> None:
        if faults:
            raise faults.pop(0)

    idle.ears.during = fail
    assert idle.catch_up.hear_one()  # the newest, in vain
    assert not idle.catch_up.hear_one()  # in vain, too; the model wants a rest
    assert idle.all_heard() == 0 and idle.ears.heard == 0  # each was tried once
    idle.catch_up._again_at = 0.0
    assert idle.all_heard() == 2
    assert all(idle.vectors.of(song, "ears") is not None for song in (first, broken))


def test_a_song_that_is_deleted_meanwhile_is_no_fault(idle: Idle) -> None:
    song, other = idle.song(), idle.song()
    idle.ears.during = lambda _: idle.library.delete(other) if idle.ears.heard == 0 else None
    assert idle.all_heard() == 2
    assert idle.vectors.of(other, "ears") is None and idle.vectors.of(song, "ears") is not None


def test_a_worker_with_nothing_to_do_catches_up(
    sqlite_house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catch_up, "_REST_S", 0.05)
    ears = Ears(tmp_path / "marks")
    storage = f"file://{sqlite_house.folder / 'storage'}"
    settings = WorkerSettings(
        data_dir=tmp_path / "own", database_url=sqlite_house.url, storage_url=storage, min_free_bytes=0, drain_s=0.0
    )
    worker = Worker(settings, renderer=ears, planner=FakePlanner(tmp_path / "marks"))
    # Before it starts: a look that finds nothing unheard is the last one for hours.
    files = (NewArtifact("song", "song.wav", "audio/wav", tone(0.2)),)
    new = NewSong(title="A", model="composer", seed=1, duration_s=0.2, format="wav", files=files)
    song = sqlite_house.library.add(new).id
    worker.start()
    try:
        vectors = Vectors(sqlite_house.library.database)
        sqlite_house.until(lambda: vectors.of(song, "ears") is not None)
    finally:
        worker.close()


def test_it_can_be_switched_off(sqlite_house: House, tmp_path: Path) -> None:
    settings = WorkerSettings(data_dir=tmp_path / "own", database_url=sqlite_house.url, hear_old_songs=False)
    worker = Worker(settings, renderer=Ears(tmp_path / "marks"), planner=FakePlanner(tmp_path / "marks"))
    assert worker._catch_up is None
    worker.start()
    worker.close()
