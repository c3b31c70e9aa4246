"""Workers on hosts that share a database and an object store, and no folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from job_house import House

from s3_server import Door, S3Server
from tonewheel.library.objects import ObjectStorage
from tonewheel.library.songs import Library
from tonewheel.library.types import Song


@pytest.fixture
def name(s3: S3Server) -> str:
    """An empty bucket."""
    return s3.new_bucket()


@pytest.fixture
def far(sqlite_house: House, s3: S3Server, name: str) -> House:
    """A house whose workers store in the bucket."""
    sqlite_house.storage_url = f"s3://{name}/tw"
    sqlite_house.environment = dict(s3.environment)
    sqlite_house.library = Library(sqlite_house.store.database, ObjectStorage(s3.open(f"s3://{name}/tw")))
    return sqlite_house


def song_of(house: House, job_id: str) -> Song:
    """The song of a job, whole in the bucket, and nothing in the making beside it."""
    song = house.library.of_job(job_id)
    assert song is not None
    for artifact in song.artifacts:
        with house.library.open(artifact.id) as (found, file):
            assert len(file.read()) == found.size_bytes
    house.until(lambda: not house.library.storage.work_jobs(), 120)
    return song


def test_a_worker_killed_in_the_middle_of_a_render_loses_no_song(far: House) -> None:
    first = far.worker(data_dir="host1")
    job = far.order("hold=go")
    far.until(lambda: far.held(job), 120)
    first.kill()
    far.let_go("go")
    far.worker(data_dir="host2")
    assert far.ended(job, 120).state == "done"
    assert far.marks(job).count("start") == 2 and far.marks(job).count("end") == 1
    song_of(far, job.id)


def test_another_host_goes_on_with_what_the_first_rendered(far: House) -> None:
    first = far.worker(data_dir="host1")
    job = far.order("steps=2")
    query = sa.text("SELECT count(*) FROM operation_outputs WHERE workflow_uuid = :id")

    def steps_done() -> int:
        with far.store.database.engine.connect() as c:
            return c.scalar(query, {"id": job.id}) or 0

    far.until(lambda: steps_done() >= 2, 120)
    first.kill()
    far.worker(data_dir="host2")
    assert far.ended(job, 120).state == "done"
    assert far.marks(job).count("start") == 1
    song_of(far, job.id)


def test_a_store_that_is_down_delays_a_song_and_nothing_is_rendered_twice(far: House, s3: S3Server) -> None:
    door = Door(s3.url)
    door.shut()
    far.environment["AWS_ENDPOINT_URL_S3"] = door.url
    worker = far.worker()
    assert "the object storage does not answer" in worker.log.read_text()
    job = far.order("steps=2")
    far.until(lambda: "end" in far.marks(job), 120)
    far.until(lambda: worker.log.read_text().count("does not answer: again in") >= 1, 120)
    assert not far.store.get(job.id).ended
    door.open()
    ended = far.ended(job, 120)
    assert (ended.state, ended.attempts) == ("done", 1)
    assert far.marks(job).count("start") == 1
    song_of(far, job.id)
    door.shut()


@pytest.mark.parametrize("wrong", ["keys", "bucket"])
def test_a_worker_that_may_not_write_does_not_start_and_takes_no_job(
    far: House, s3: S3Server, wrong: str, tmp_path: Path
) -> None:
    job = far.order("steps=1")
    environment = os.environ | s3.environment | {"TONEWHEEL_DATA_DIR": str(tmp_path / "host")}
    storage = far.storage_url
    if wrong == "keys":
        environment["AWS_SECRET_ACCESS_KEY"] = "not-the-one"
    else:
        storage = "s3://no-such-bucket"
    command = [sys.executable, "-m", "tonewheel.cli.main", "worker", "--database", far.url, "--storage", storage]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=180, check=False)
    assert ran.returncode == 2, ran.stderr
    said = {"keys": "check the access key, its secret", "bucket": "there is no bucket 'no-such-bucket'"}[wrong]
    assert said in " ".join(ran.stderr.split()) and "Traceback" not in ran.stderr and s3.secret not in ran.stderr
    assert far.store.get(job.id).state == "queued"
    far.worker()
    assert far.ended(job, 120).state == "done"


def test_the_same_song_made_twice_is_one_object(far: House, s3: S3Server, name: str) -> None:
    far.worker()
    jobs = [far.order("steps=1", seed=1, title="Same") for _ in range(2)]
    for job in jobs:
        assert far.ended(job, 120).state == "done"
    one, two = (song_of(far, job.id) for job in jobs)
    assert one.artifact("song").sha256 == two.artifact("song").sha256  # type: ignore[union-attr]
    stored = [key for key in s3.keys(name) if "/artifacts/" in key]
    assert len(stored) == len({a.sha256 for song in (one, two) for a in song.artifacts})
