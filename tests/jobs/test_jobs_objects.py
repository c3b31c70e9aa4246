"""Workers on hosts that share a database and an object store, and no folder."""

from __future__ import annotations

import sqlalchemy as sa
from job_house import House

from tonewheel.library.objects import ObjectStorage
from tonewheel.library.songs import Library
from tonewheel.s3 import Bucket


def test_another_host_goes_on_with_what_the_first_rendered(
    postgres_house: House,
    bucket: Bucket,
    s3_server: str,
) -> None:
    house = postgres_house
    house.storage_url = f"s3://{bucket.name}/tw"
    house.environment = {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test-secret", "AWS_ENDPOINT_URL_S3": s3_server,
    }  # fmt: skip
    first = house.worker(data_dir="host1")
    job = house.order("steps=2")
    query = sa.text("SELECT count(*) FROM dbos.operation_outputs WHERE workflow_uuid = :id")
    with house.store.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as c:
        while c.scalar(query, {"id": job.id}) < 2:
            pass
    first.kill()
    house.worker(data_dir="host2")
    ended = house.ended(job)
    assert ended.state == "done"
    assert house.marks(job).count("start") == 1
    library = Library(house.store.database, ObjectStorage(bucket, "tw/"))
    song = library.of_job(job.id)
    assert song is not None
    with library.open(song.artifacts[0].id) as (artifact, file):
        assert len(file.read()) == artifact.size_bytes
    house.until(lambda: not library.storage.work_jobs())
