"""Songs in object storage, against a real server of the S3 API."""

from __future__ import annotations

import hashlib
import http.server
import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import pytest

from s3_server import KEYS
from tonewheel.errors import DiskFull, InvalidRequest, NotFound, TonewheelError, Unavailable
from tonewheel.library import songs as songs_module
from tonewheel.library.database import Database
from tonewheel.library.objects import ObjectStorage, open_objects
from tonewheel.library.songs import Library
from tonewheel.library.types import NewArtifact, NewSong
from tonewheel.s3 import Bucket, Keys, sign, split_url
from tonewheel.settings import Settings


@pytest.fixture
def library(bucket: Bucket, tmp_path: Path) -> Iterator[Library]:
    database = Database.open(f"sqlite:///{tmp_path / 'songs.sqlite'}")
    made = Library(database, ObjectStorage(bucket, "tw/"))
    made.create_tables()
    yield made
    database.close()


def test_the_signature_is_the_one_of_the_published_example() -> None:
    keys = Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    made = sign(
        "GET", "https://examplebucket.s3.amazonaws.com/test.txt", {"Range": "bytes=0-9"},
        hashlib.sha256(b"").hexdigest(), datetime(2013, 5, 24, tzinfo=UTC), keys, "us-east-1",
    )  # fmt: skip
    assert made["authorization"].endswith("f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")


def test_objects_come_back_in_whole_and_in_parts(bucket: Bucket, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    source = tmp_path / "big"
    source.write_bytes(data)
    bucket.put("a b/ü+%.bin", source)
    assert bucket.size("a b/ü+%.bin") == len(data)
    assert bucket.read("a b/ü+%.bin", 10, 20) == data[10:20]
    bucket.download("a b/ü+%.bin", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == data
    assert bucket.size("nothing") is None
    bucket.delete("a b/ü+%.bin")
    bucket.delete("a b/ü+%.bin")
    assert not bucket.has("a b/ü+%.bin")
    with pytest.raises(NotFound):
        bucket.read("nothing", 0, 1)


def test_long_listings_are_read_to_their_end(bucket: Bucket) -> None:
    for n in range(7):
        bucket.put(f"p/{n}", b"x" * n)
    bucket.put("q/0", b"")
    found = list(bucket.list("p/", a_page=3))
    assert [(o.key, o.size) for o in found] == [(f"p/{n}", n) for n in range(7)]
    assert all(abs(o.modified - time.time()) < 100 for o in found)


def test_a_song_in_a_bucket_is_found_read_in_ranges_and_deleted(
    library: Library, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(2_500_000)
    song = NewSong(title="Far", model="composer", seed=1, duration_s=1, format="wav",
                   files=(NewArtifact("song", "song.wav", "audio/wav", data),))  # fmt: skip
    kept = library.add(song)
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
    library.hold("job_2", [data])
    assert len(list(bucket.list(""))) == 1
    monkeypatch.setattr(songs_module, "_ORPHAN_S", -100.0)
    library.sweep()
    assert list(bucket.list("")) == []


@pytest.mark.parametrize("bad", ["../x", "a" * 63, "", "a/b"])
def test_no_key_but_that_of_a_content_or_a_work_file_is_asked_for(library: Library, bad: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        library.storage.has(bad)
    with pytest.raises(NotFound):
        library.storage.fetch_work(f"{bad}/../x", tmp_path)


def test_a_bucket_that_is_not_there_is_named_as_what_to_check(s3_server: str) -> None:
    with pytest.raises(TonewheelError, match="check bucket"):
        Bucket("no-such-bucket", KEYS, endpoint=s3_server).put("x", b"x")


def test_an_object_store_that_is_away_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tonewheel.s3.time.sleep", lambda _s: None)
    with pytest.raises(Unavailable):
        Bucket("b", KEYS, endpoint="http://127.0.0.1:1").has("x")


class _Moody(http.server.BaseHTTPRequestHandler):
    """Answers with the statuses it is given, in turn."""

    statuses: ClassVar[list[int]] = []

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(self.statuses.pop(0))
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("statuses", "error"),
    [([503, 500, 200], None), ([503] * 4, Unavailable), ([507], DiskFull), ([403], TonewheelError)],
)
def test_what_may_pass_is_tried_again_and_the_rest_is_said(
    statuses: list[int], error: type[Exception] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tonewheel.s3.time.sleep", lambda _s: None)
    _Moody.statuses = list(statuses)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Moody)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    bucket = Bucket("b", KEYS, endpoint=f"http://127.0.0.1:{server.server_port}")
    if error is None:
        bucket.put("x", b"data")
    else:
        with pytest.raises(error):
            bucket.put("x", b"data")
    assert _Moody.statuses == []
    server.shutdown()


def test_an_address_or_keys_that_are_missing_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert split_url("s3://b/a/c/") == ("b", "a/c/")
    assert split_url("s3://b") == ("b", "")
    for bad in ("s3://", "s3:///x", "http://b"):
        with pytest.raises(InvalidRequest):
            split_url(bad)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InvalidRequest, match="AWS_ACCESS_KEY_ID"):
        open_objects("s3://b", Settings())


def test_secrets_are_not_shown() -> None:
    assert "test-secret" not in repr(KEYS)
