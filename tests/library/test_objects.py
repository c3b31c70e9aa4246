"""Songs in object storage, against a real server of the S3 API that checks signatures."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from s3_server import Door, S3Server
from tonewheel.buckets import Bucket, open_bucket, split_url
from tonewheel.errors import DiskFull, InvalidRequest, MissingExtra, NotFound, StorageRefused, Unavailable
from tonewheel.library import songs as songs_module
from tonewheel.library.database import Database
from tonewheel.library.objects import ObjectStorage
from tonewheel.library.songs import Library
from tonewheel.library.storage import open_storage
from tonewheel.library.types import NewArtifact, NewSong
from tonewheel.settings import Settings


@pytest.fixture
def name(s3: S3Server) -> str:
    """An empty bucket."""
    return s3.new_bucket()


@pytest.fixture
def bucket(s3: S3Server, name: str) -> Bucket:
    return s3.open(f"s3://{name}/tw")


@pytest.fixture
def library(bucket: Bucket, tmp_path: Path) -> Iterator[Library]:
    database = Database.open(f"sqlite:///{tmp_path / 'songs.sqlite'}")
    made = Library(database, ObjectStorage(bucket))
    made.create_tables()
    yield made
    database.close()


def song(title: str, data: bytes) -> NewSong:
    file = NewArtifact("song", "song.wav", "audio/wav", data)
    return NewSong(title=title, model="composer", seed=1, duration_s=1, format="wav", files=(file,))


def test_objects_come_back_in_whole_and_in_parts(bucket: Bucket, tmp_path: Path) -> None:
    data = os.urandom(20_000_000)  # goes up in three parts
    source = tmp_path / "big"
    source.write_bytes(data)
    bucket.put("a b/ü+%.bin", source)
    assert bucket.size("a b/ü+%.bin") == len(data)
    assert bucket.read("a b/ü+%.bin", 10, 20) == data[10:20]
    assert b"".join(bucket.stream("a b/ü+%.bin", 5_000_000)) == data[5_000_000:]
    bucket.download("a b/ü+%.bin", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == data
    assert bucket.size("nothing") is None
    bucket.delete("a b/ü+%.bin")
    bucket.delete("a b/ü+%.bin")
    assert not bucket.has("a b/ü+%.bin")
    with pytest.raises(NotFound, match="no object 'nothing'"):
        bucket.read("nothing", 0, 1)


def test_long_listings_are_read_to_their_end(bucket: Bucket, s3: S3Server, name: str) -> None:
    for n in range(7):
        bucket.put(f"p/{n}", b"x" * n)
    bucket.put("q/0", b"")
    found = list(bucket.list("p/", a_page=3))
    assert [(o.key, o.size) for o in found] == [(f"p/{n}", n) for n in range(7)]
    assert all(abs(o.modified - time.time()) < 100 for o in found)
    assert len(s3.keys(name)) == 8 and all(key.startswith("tw/") for key in s3.keys(name))


def test_a_song_in_a_bucket_is_found_read_in_ranges_and_deleted(
    library: Library, s3: S3Server, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(2_500_000)
    kept = library.add(song("Far", data))
    with library.open(kept.artifacts[0].id) as (artifact, file):
        assert artifact.size_bytes == len(data)
        file.seek(2_000_000)
        assert file.read(100) == data[2_000_000:2_000_100]
        file.seek(-10, 2)
        assert file.read() == data[-10:]
        file.seek(0)
        assert file.read() == data
    work = tmp_path / "w"
    work.write_bytes(b"work")
    library.storage.put_work("job_1/audio.bin", work)
    assert library.storage.work_jobs() == ["job_1"]
    assert library.storage.fetch_work("job_1/audio.bin", tmp_path).read_bytes() == b"work"
    library.storage.clear_work("job_1")
    library.delete(kept.id)
    assert s3.keys(name) == []
    library.hold("job_2", [data])
    assert len(s3.keys(name)) == 1
    monkeypatch.setattr(songs_module, "_ORPHAN_S", -100.0)
    library.sweep()
    assert s3.keys(name) == []


def test_the_same_content_stored_twice_is_one_object_and_goes_with_its_last_song(
    library: Library, s3: S3Server, name: str
) -> None:
    one, two = library.add(song("One", b"same")), library.add(song("Two", b"same"))
    assert len(s3.keys(name)) == 1
    library.delete(one.id)
    with library.open(two.artifacts[0].id) as (_, file):
        assert file.read() == b"same"
    library.delete(two.id)
    assert s3.keys(name) == []


@pytest.mark.parametrize("bad", ["../x", "a" * 63, "", "a/b"])
def test_no_key_but_that_of_a_content_or_a_work_file_is_asked_for(library: Library, bad: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        library.storage.has(bad)
    with pytest.raises(NotFound):
        library.storage.fetch_work(f"{bad}/../x", tmp_path)


def test_a_bucket_that_is_not_there_is_named(s3: S3Server) -> None:
    nowhere = s3.open("s3://no-such-bucket")
    with pytest.raises(StorageRefused, match=r"no bucket 'no-such-bucket'.*create it"):
        ObjectStorage(nowhere).check()
    with pytest.raises(StorageRefused, match="no bucket 'no-such-bucket'"):
        list(nowhere.list())


@pytest.mark.parametrize("wrong", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_keys_are_named_and_not_shown(s3: S3Server, name: str, wrong: str) -> None:
    locked = s3.open(f"s3://{name}", **{wrong: "AKIAWRONGWRONGWRONG1"})
    for ask in (lambda: ObjectStorage(locked).check(), lambda: locked.has("x"), lambda: locked.read("x", 0, 1)):
        with pytest.raises(StorageRefused, match="check the access key, its secret") as refused:
            ask()
        assert s3.secret not in refused.value.message and "AKIAWRONG" not in refused.value.message
    assert s3.keys(name) == []


def test_a_store_that_is_away_is_unavailable_and_then_as_before(s3: S3Server, name: str) -> None:
    door = Door(s3.url)
    bucket = s3.open(f"s3://{name}", AWS_ENDPOINT_URL_S3=door.url)
    bucket.put("x", b"data")
    door.shut()
    with pytest.raises(Unavailable, match="does not answer") as away:
        bucket.read("x", 0, 4)
    assert away.value.http_status == 503 and "127.0.0.1" not in away.value.message
    door.open()
    assert bucket.read("x", 0, 4) == b"data"
    door.shut()


def test_what_is_to_be_kept_waits_for_a_store_that_comes_back(s3: S3Server, name: str, tmp_path: Path) -> None:
    door = Door(s3.url)
    storage = ObjectStorage(s3.open(f"s3://{name}", AWS_ENDPOINT_URL_S3=door.url))
    work = tmp_path / "w"
    work.write_bytes(b"work")
    door.shut()
    opening = threading.Timer(1.5, door.open)
    opening.start()
    storage.put_work("job_1/audio.bin", work)
    assert s3.keys(name) == ["work/job_1/audio.bin"]
    door.shut()
    with pytest.raises(Unavailable):
        ObjectStorage(s3.open(f"s3://{name}", AWS_ENDPOINT_URL_S3=door.url), patience_s=0).put("a" * 64, b"x")


class _Moody(http.server.BaseHTTPRequestHandler):
    """Answers with the statuses it is given, in turn."""

    statuses: list[int]

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(self.statuses.pop(0))
        self.send_header("content-length", "0")
        self.send_header("etag", '"e"')
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("statuses", "error"),
    [([503, 500, 200], None), ([503] * 4, Unavailable), ([507] * 4, DiskFull), ([400], StorageRefused)],
)
def test_what_may_pass_is_tried_again_and_the_rest_is_said(
    s3: S3Server, statuses: list[int], error: type[Exception] | None
) -> None:
    handler = type("Handler", (_Moody,), {"statuses": statuses})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    bucket = s3.open("s3://songs", AWS_ENDPOINT_URL_S3=f"http://127.0.0.1:{server.server_port}")
    if error is None:
        bucket.put("x", b"data")
    else:
        with pytest.raises(error):
            bucket.put("x", b"data")
    assert statuses == []
    server.shutdown()
    server.server_close()


def test_an_address_or_keys_that_are_missing_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert split_url("s3://b/a/c/") == ("s3", "b", "a/c")
    assert split_url("gs://b/with%20space") == ("gs", "b", "with space")
    for bad in ("s3://", "s3:///x", "http://b", "s3://b?versionId=1"):
        with pytest.raises(InvalidRequest, match="s3://BUCKET/PREFIX"):
            split_url(bad)
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SKIP_SIGNATURE"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(InvalidRequest, match="AWS_ACCESS_KEY_ID"):
        open_bucket("s3://b", chosen=Settings())
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    assert open_bucket("s3://b", chosen=Settings()).name == "b"


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    for url in ("s3://songs", "gs://songs"):
        with pytest.raises(MissingExtra, match=r"tonewheel\[objects\]"):
            open_storage(url, tmp_path)


def test_secrets_are_not_shown(s3: S3Server, bucket: Bucket) -> None:
    assert s3.secret not in f"{s3!r} {bucket!r} {vars(bucket)!r}"


def test_who_stores_in_a_folder_loads_no_client_of_object_storage() -> None:
    code = (
        "import sys, pathlib; from tonewheel.library.storage import open_storage;"
        "open_storage(None, pathlib.Path('.')); print('obstore' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"False"
