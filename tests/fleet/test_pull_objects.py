"""Weights from a bucket: fetched, resumed, checked; against a real server of the S3 API."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from s3_server import Door, S3Server, public_server
from tonewheel.errors import InvalidRequest, PullFailed, WrongHash
from tonewheel.fleet.pull import here_bytes, is_pulled, pull
from tonewheel.models.base import Card, CardFile
from tonewheel.settings import settings

WEIGHTS = bytes(range(256)) * 50_000  # 12.8 MB
CONFIG = b'{"hidden": 1}'
FILES = {"config.json": CONFIG, "sub/model.safetensors": WEIGHTS}


def card(source: str) -> Card:
    files = tuple(
        CardFile(path=path, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        for path, data in FILES.items()
    )
    return Card(
        id="small", family="small", title="Small", tasks=("music",), source=source, revision="abc123", files=files,
        code_license="MIT", service="small", default_port=9000,
    )  # fmt: skip


@pytest.fixture
def here(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """This process as one with the server's keys and an empty data folder."""
    for name, value in (s3.environment | {"TONEWHEEL_DATA_DIR": str(tmp_path / "data")}).items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    yield monkeypatch
    settings.cache_clear()


@pytest.fixture(scope="module")
def name(s3: S3Server) -> str:
    return filled(s3)


def filled(server: S3Server) -> str:
    """A bucket with the files in the folder `models/small`."""
    name = server.new_bucket()
    for path, data in FILES.items():
        server.client().put_object(Bucket=name, Key=f"models/small/{path}", Body=data, ACL="public-read")
    return name


def test_every_file_arrives_checked_with_its_progress(here: pytest.MonkeyPatch, name: str) -> None:
    told: list[tuple[str, int, int]] = []
    wanted = card(f"s3://{name}/models/small")
    folder = pull(wanted, progress=lambda *news: told.append(news))
    assert all((folder / path).read_bytes() == data for path, data in FILES.items())
    assert is_pulled(wanted) and not list(folder.rglob("*.part"))
    of_weights = [at for file, at, total in told if file == "sub/model.safetensors" and total == len(WEIGHTS)]
    assert len(of_weights) >= 5 and of_weights == sorted(of_weights) and of_weights[-1] == len(WEIGHTS)
    here.setenv("AWS_SECRET_ACCESS_KEY", "not-the-one")
    settings.cache_clear()
    pull(wanted)  # all here: nothing is asked


def test_a_pull_that_was_cut_off_goes_on_where_it_stopped(here: pytest.MonkeyPatch, s3: S3Server, name: str) -> None:
    door = Door(s3.url)
    here.setenv("AWS_ENDPOINT_URL_S3", door.url)
    settings.cache_clear()
    wanted = card(f"s3://{name}/models/small")

    door.shut_after(3_000_000)
    with pytest.raises(PullFailed, match="pull again to go on") as failed:
        pull(wanted)
    assert failed.value.retryable and "127.0.0.1" not in failed.value.message
    arrived = here_bytes(wanted) - len(CONFIG)
    assert 0 < arrived < 3_000_000 and not is_pulled(wanted)
    door.open()
    told: list[tuple[str, int, int]] = []
    folder = pull(wanted, progress=lambda *news: told.append(news))
    assert all((folder / path).read_bytes() == data for path, data in FILES.items())
    assert next(at for file, at, _ in told if file.startswith("sub/")) > arrived
    door.shut()


def test_an_object_that_is_another_file_is_refused_and_deleted(here: pytest.MonkeyPatch, s3: S3Server) -> None:
    name = filled(s3)
    s3.client().put_object(Bucket=name, Key="models/small/sub/model.safetensors", Body=WEIGHTS[::-1])
    with pytest.raises(WrongHash, match="not the file its card names"):
        pull(card("hf:some/where"), source=f"s3://{name}/models/small")
    folder = settings().data_dir / "models/small/abc123"
    assert [p.name for p in folder.rglob("*") if p.is_file()] == ["config.json"]


def test_what_will_not_pass_is_told_at_once(here: pytest.MonkeyPatch, name: str) -> None:
    for source, words in (
        (f"s3://{name}/models/large", r"models/large has no config\.json"),
        ("s3://no-such-bucket/models/small", "no bucket 'no-such-bucket'"),
    ):
        with pytest.raises(PullFailed, match=words) as failed:
            pull(card(source))
        assert not failed.value.retryable
    here.setenv("AWS_SECRET_ACCESS_KEY", "not-the-one")
    settings.cache_clear()
    with pytest.raises(PullFailed, match="check the access key") as failed:
        pull(card(f"s3://{name}/models/small"))
    assert not failed.value.retryable
    here.delenv("AWS_SECRET_ACCESS_KEY")
    settings.cache_clear()
    with pytest.raises(InvalidRequest, match="AWS_ACCESS_KEY_ID"):
        pull(card(f"s3://{name}/models/small"))
    with pytest.raises(InvalidRequest, match="s3://BUCKET/PREFIX"):
        pull(card("s3://"))


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_public_bucket_needs_no_keys(here: pytest.MonkeyPatch, scheme: str) -> None:
    """Google's XML API and S3's are the same as far as reading goes: one server stands for both."""
    server = public_server()
    name = filled(server)
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        here.delenv(variable)
    for variable, value in (
        ("AWS_SKIP_SIGNATURE", "true"), ("AWS_ENDPOINT_URL_S3", server.url),
        ("GOOGLE_SKIP_SIGNATURE", "true"), ("GOOGLE_BASE_URL", server.url),
    ):  # fmt: skip
        here.setenv(variable, value)
    settings.cache_clear()
    wanted = card(f"{scheme}://{name}/models/small")
    pull(wanted)
    assert is_pulled(wanted)
