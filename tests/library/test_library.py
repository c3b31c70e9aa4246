"""Songs in, songs out, songs found, songs gone; nothing half-written, nothing lost that is still used."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tonewheel.errors import DiskFull, InvalidRequest, NotFound, Unavailable
from tonewheel.library import songs as songs_module
from tonewheel.library.database import Database
from tonewheel.library.ids import is_id, new_id
from tonewheel.library.songs import Library
from tonewheel.library.storage import FolderStorage, open_storage
from tonewheel.library.tables import songs as songs_table
from tonewheel.library.types import NewArtifact, NewSong


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    database = Database.open(f"sqlite:///{tmp_path / 'songs.sqlite'}", patience_s=60.0)
    made = Library(database, FolderStorage(tmp_path / "storage"))
    made.create_tables()
    yield made
    database.close()


def song(title: str = "A Song", data: bytes = b"sound", **more: object) -> NewSong:
    values: dict[str, object] = {
        "title": title, "model": "composer", "seed": 1, "duration_s": 10.0, "format": "mp3",
        "files": (NewArtifact("song", "song.mp3", "audio/mpeg", data),),
    }  # fmt: skip
    return NewSong(**(values | more))  # type: ignore[arg-type]


def files_of(library: Library) -> list[Path]:
    assert isinstance(library.storage, FolderStorage)
    return [p for p in library.storage.folder.rglob("*") if p.is_file()]


def test_a_song_comes_back_as_it_was_kept(library: Library, tmp_path: Path) -> None:
    midi = tmp_path / "x.mid"
    midi.write_bytes(b"MThd")
    plan = {"genre": "folk", "moods": ["calm"], "sections": [{"lyrics": ["a line"]}]}
    new = song(
        plan=plan, prompt="odd \x00 \ud800 text", lyrics="la", timings={"render": 1.5}, checks={"lufs": -14.0},
        job_id="job_x", details={"style": "folk"}, request={"narrative": "n"},
        files=(
            NewArtifact("song", "song.mp3", "audio/mpeg", b"sound"), NewArtifact("midi", "song.mid", "audio/midi", midi)
        ),
    )  # fmt: skip
    kept = library.add(new)
    found = library.get(kept.id)
    assert found == kept
    assert (found.plan, found.prompt, found.timings) == (plan, "odd \x00 \ud800 text", {"render": 1.5})
    assert [a.kind for a in found.artifacts] == ["song", "midi"]
    assert library.of_job("job_x") == found
    with library.open(found.artifacts[0].id) as (artifact, file):
        data = file.read()
        assert file.seekable()
    assert data == b"sound"
    assert artifact.sha256 == hashlib.sha256(b"sound").hexdigest()
    assert artifact.size_bytes == 5


def test_ids_are_random_and_nothing_else_is_looked_up(library: Library) -> None:
    ids = {new_id("song") for _ in range(1000)}
    assert len(ids) == 1000
    assert all(is_id("song", i) for i in ids)
    for bad in ("", "../../etc/passwd", "song_", "art_" + "a" * 23, "art_%2e%2e", "art_\x00", "Ä" * 26):
        with pytest.raises(NotFound):
            library.artifact(bad)
        with pytest.raises(NotFound):
            library.get(bad)


@pytest.mark.parametrize("bad", ["../x", "a" * 63, "A" * 64, "", "/etc/passwd", "a" * 63 + "/"])
def test_the_storage_opens_nothing_but_contents(library: Library, bad: str) -> None:
    with pytest.raises(NotFound), library.storage.open(bad):
        pass


@pytest.mark.parametrize("bad", ["../x", "job/../../x", "job", "/job/x", "job/x/y", "job/.x", "job/x.mp3/.."])
def test_work_files_have_no_paths(library: Library, tmp_path: Path, bad: str) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x")
    with pytest.raises(NotFound):
        library.storage.put_work(bad, source)
    with pytest.raises(NotFound):
        library.storage.fetch_work(bad, tmp_path)


def test_the_same_content_is_kept_once_and_goes_with_its_last_song(library: Library) -> None:
    one, two = library.add(song("One", b"same")), library.add(song("Two", b"same"))
    assert len(files_of(library)) == 1
    library.delete(one.id)
    with library.open(two.artifacts[0].id) as (_, file):
        assert file.read() == b"same"
    library.delete(two.id)
    assert files_of(library) == []
    with pytest.raises(NotFound):
        library.delete(two.id)


def test_search_finds_words_wherever_they_stand(library: Library) -> None:
    plan = {
        "genre": "Café Noir",
        "narrative": "An old lighthouse keeper",
        "sections": [{"lyrics": ["Waves don’t sleep"]}],
    }
    lamp = library.add(song("The Lamp", plan=plan))
    earlier = sa.update(songs_table).where(songs_table.c.id == lamp.id).values(created_at=lamp.created_at - 10)
    library.database.write(lambda c: c.execute(earlier))
    sea = library.add(song("Sea", prompt="100% deep_house, no lamp", model="musicgen-small"))
    find = library.search
    assert [s.id for s in find(words="LIGHTHOUSE keep").songs] == [lamp.id]
    assert [s.id for s in find(words="cafe").songs] == [lamp.id]
    assert [s.id for s in find(words="don't sleep").songs] == [lamp.id]
    assert [s.id for s in find(words="lamp").songs] == [sea.id, lamp.id], "newest first"
    assert [s.id for s in find(words="lamp", model="composer").songs] == [lamp.id]
    assert find(words="amp").songs == (), "words are found from their beginning"
    assert [s.id for s in find(words="100% deep").songs] == [sea.id]
    assert find(words="%").total == 2, "signs are no words"
    assert [s.id for s in find(made_before=sea.created_at).songs] == [lamp.id]
    assert find(made_after=sea.created_at + 1).songs == ()


def test_pages_meet_without_gaps_while_songs_are_added(library: Library) -> None:
    made = [library.add(song(f"Song {n}")) for n in range(7)]
    first = library.search(limit=3)
    library.add(song("Late"))
    seen = list(first.songs)
    after = first.next
    while after:
        page = library.search(limit=3, after=after)
        seen += page.songs
        after = page.next
    assert [s.id for s in seen] == [s.id for s in reversed(made)]
    assert first.total == 7
    for bad in ("x", "-1", "1;", "9" * 30):
        with pytest.raises(InvalidRequest):
            library.search(after=bad)


def test_what_expires_goes_and_what_is_kept_stays(library: Library) -> None:
    gone, kept, later = (library.add(song(t, t.encode(), expires_in_s=-1.0)) for t in ("gone", "kept", "later"))
    library.keep(kept.id)
    library.keep(later.id, expires_in_s=1000)
    assert library.expire() == [gone.id]
    assert {s.id for s in library.search().songs} == {kept.id, later.id}
    assert len(files_of(library)) == 2


def test_files_of_a_writer_that_was_killed_are_swept_and_nothing_else(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = library.add(song())
    library.hold("job_lost", [b"never recorded"])
    assert library.sweep() == 0, "it may be in the making"
    monkeypatch.setattr(songs_module, "_ORPHAN_S", -1.0)
    assert library.sweep() == 1
    with library.open(kept.artifacts[0].id) as (_, file):
        assert file.read() == b"sound"
    assert len(files_of(library)) == 1


def test_half_written_files_are_swept_though_work_is_cleared_away_meanwhile(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(library.storage, FolderStorage)
    left = [library.storage.folder / "work" / job / ".tonewheel-x.part" for job in ("job_1", "job_2", "job_3")]
    for part in left:
        part.parent.mkdir(parents=True)
        part.touch()
        os.utime(part, (0, 0))
    listed = os.scandir

    def just_gone(path: Any) -> Any:
        if str(path).endswith("job_2"):
            shutil.rmtree(path)
        return listed(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", just_gone)
        library.storage.sweep()
    assert not any(part.exists() for part in left) and left[0].parent.exists() and left[2].parent.exists()


def test_a_content_held_for_a_song_in_the_making_outlives_another_song(library: Library) -> None:
    old = library.add(song("Old", b"same"))
    kept = library.hold("job_1", [b"same"])
    library.delete(old.id)
    new_id_ = new_id("song")
    library.database.write(lambda c: library.record(c, new_id_, song("New"), kept, holder="job_1"))
    made = library.get(new_id_)
    with library.open(made.artifacts[0].id) as (_, file):
        assert file.read() == b"same"
    library.delete(made.id)
    assert files_of(library) == []


def test_what_was_held_for_a_song_that_failed_is_let_go(library: Library) -> None:
    kept = library.add(song(data=b"shared"))
    library.hold("job_1", [b"shared", b"own"])
    assert len(files_of(library)) == 2
    library.release("job_1")
    assert len(files_of(library)) == 1
    with library.open(kept.artifacts[0].id) as (_, file):
        assert file.read() == b"shared"


def test_adding_and_deleting_the_same_content_at_once_loses_no_file(library: Library) -> None:
    faults: list[Exception] = []

    def come_and_go() -> None:
        try:
            for _ in range(8):
                made = library.add(song(data=b"contended"))
                with library.open(made.artifacts[0].id) as (_, file):
                    assert file.read() == b"contended"
                library.delete(made.id)
        except Exception as e:
            faults.append(e)

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert faults == []
    assert files_of(library) == []


def test_a_row_that_cannot_be_written_leaves_no_song(library: Library) -> None:
    library.add(song(job_id="job_1"))
    with pytest.raises(sa.exc.IntegrityError):
        library.add(song("Second", b"other", job_id="job_1"))
    assert library.search().total == 1
    assert len(files_of(library)) == 1


def test_a_full_disk_is_told_and_nothing_half_written_stays(small_disk: Path, tmp_path: Path) -> None:
    database = Database.open(f"sqlite:///{tmp_path / 'songs.sqlite'}")
    library = Library(database, FolderStorage(small_disk / "storage"))
    library.create_tables()
    kept = library.add(song("Small", os.urandom(100_000)))
    with pytest.raises(DiskFull):
        library.add(song("Big", os.urandom(8_000_000)))
    assert library.search().total == 1
    assert len(files_of(library)) == 1
    library.delete(kept.id)
    assert library.add(song("After", os.urandom(1_000_000))).title == "After"
    database.close()


def test_a_database_without_room_says_so_and_goes_on_when_there_is(small_disk: Path, tmp_path: Path) -> None:
    database = Database.open(f"sqlite:///{small_disk / 'songs.sqlite'}", patience_s=0.2)
    library = Library(database, FolderStorage(tmp_path / "storage"))
    library.create_tables()
    ballast = small_disk / "ballast"
    _fill(ballast)
    with pytest.raises(DiskFull):
        for n in range(500):
            library.add(song(f"Song {n}", lyrics="x" * 20_000))
    before = library.search().total
    ballast.unlink()
    library.add(song("After"))
    assert library.search().total == before + 1
    database.close()


def test_a_database_that_is_away_is_waited_for_and_then_named() -> None:
    database = Database.open("postgresql://nobody@127.0.0.1:1/none", patience_s=0.3)
    with pytest.raises(Unavailable) as refused:
        database.read(lambda c: c.execute(sa.text("SELECT 1")))
    assert refused.value.http_status == 503
    database.close()


def test_passwords_are_not_shown() -> None:
    database = Database.open("postgresql://me:secret@127.0.0.1/x")
    assert "secret" not in database.shown_url
    database.close()


@pytest.mark.parametrize("url", ["mysql://x/y", "nonsense", "sqlite://", "sqlite:///:memory:", ""])
def test_a_database_that_cannot_serve_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest):
        Database.open(url)


def test_storage_is_a_folder_and_other_schemes_are_refused(tmp_path: Path) -> None:
    assert open_storage(None, tmp_path).folder == tmp_path
    assert open_storage(f"file://{tmp_path}/with%20space", tmp_path).folder == tmp_path / "with space"
    with pytest.raises(InvalidRequest):
        open_storage("s3://bucket", tmp_path)


def test_a_power_cut_keeps_what_was_committed(library: Library) -> None:
    with library.database.engine.connect() as c:
        assert c.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert c.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as f:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    f.write(b"\0" * size)
            except OSError:
                pass


def test_a_sidecar_is_json_a_person_can_read() -> None:
    from tonewheel.jobs.craft import sidecar

    data = sidecar({"title": "Für Elise", "seed": 1})
    assert json.loads(data) == {"title": "Für Elise", "seed": 1}
    assert "Für" in data.decode()


def test_stored_files_are_not_executable(library: Library) -> None:
    library.add(song())
    assert all(not p.stat().st_mode & (stat.S_IXUSR | stat.S_IXOTH) for p in files_of(library))


def test_an_old_sqlite_is_replaced_by_the_wheel_or_refused_with_a_way_out() -> None:
    code = (
        "import sqlite3.dbapi2 as old, sys\n"
        "old.sqlite_version_info, old.sqlite_version = (3, 37, 2), '3.37.2'\n"
        "{hide}"
        "from tonewheel.errors import NotSupported\n"
        "from tonewheel.library import sqlite\n"
        "try:\n"
        "    print(sqlite.driver().__name__, __import__('sqlite3').__name__)\n"
        "except NotSupported as e:\n"
        "    print(e.message)\n"
    )
    hide = "sys.modules['pysqlite3'] = None\n"

    def says(code: str) -> str:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    if importlib.util.find_spec("pysqlite3") is not None:
        assert says(code.format(hide="")).split() == ["pysqlite3.dbapi2", "pysqlite3"]
    without = says(code.format(hide=hide))
    assert "3.42.0 or newer is needed" in without
    assert "TONEWHEEL_DATABASE_URL" in without
