"""Songs by what they sound like: the nearest first, always as the library is now, in SQLite and in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tonewheel.errors import InvalidRequest
from tonewheel.library.database import Database
from tonewheel.library.songs import Library
from tonewheel.library.storage import FolderStorage
from tonewheel.library.types import NewSong
from tonewheel.library.vectors import Vectors


@pytest.fixture(params=["sqlite", "postgresql"])
def library(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Library]:
    url = f"sqlite:///{tmp_path / 'songs.sqlite'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").new_database()
    database = Database.open(url, patience_s=60.0)
    made = Library(database, FolderStorage(tmp_path / "storage"))
    made.create_tables()
    yield made
    database.close()


def add(library: Library, vectors: Vectors, *numbers: float, model: str = "clap") -> str:
    song = library.add(NewSong(title="A", model="composer", seed=1, duration_s=1.0, format="mp3", files=()))
    vectors.put(song.id, model, numbers)
    return song.id


def test_the_nearest_come_first(library: Library) -> None:
    vectors = Vectors(library.database)
    east, north, between = (add(library, vectors, *v) for v in ((1, 0), (0, 1), (0.8, 0.6)))
    near = vectors.nearest([1, 0.1], "clap", 10)
    assert [n.song_id for n in near] == [east, between, north]
    assert near[0].score == pytest.approx(1 / np.sqrt(1.01), abs=1e-4)
    assert [n.song_id for n in vectors.nearest([1, 0.1], "clap", 1, but=east)] == [between]


def test_what_changes_is_seen_by_every_process(library: Library) -> None:
    here, elsewhere = Vectors(library.database), Vectors(library.database)
    first = add(library, here, 1, 0)
    assert [n.song_id for n in elsewhere.nearest([1, 0], "clap", 5)] == [first]
    second = add(library, here, 0, 1)
    assert [n.song_id for n in elsewhere.nearest([0, 1], "clap", 5)] == [second, first]
    here.put(first, "clap", [0, 2])  # heard anew
    assert [n.score for n in elsewhere.nearest([0, 1], "clap", 5)] == pytest.approx([1, 1])
    library.delete(second)
    assert [n.song_id for n in elsewhere.nearest([0, 1], "clap", 5)] == [first]


def test_each_model_has_vectors_of_its_own(library: Library) -> None:
    vectors = Vectors(library.database)
    song = add(library, vectors, 1, 0)
    add(library, vectors, 0, 1)
    vectors.put(song, "other", [1, 2, 3])
    assert vectors.models() == ["clap", "other"]
    assert [n.song_id for n in vectors.nearest([3, 2, 1], "other", 5)] == [song]
    found = vectors.of(song, "other")
    assert found is not None and found.tolist() == [1, 2, 3]
    assert vectors.of(song, "third") is None
    assert vectors.nearest([1], "third", 5) == []
    with pytest.raises(InvalidRequest, match="3 numbers"):
        vectors.nearest([1, 0], "other", 5)
