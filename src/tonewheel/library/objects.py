"""Storage in an object store (`s3://BUCKET/PREFIX`): what a folder is on one machine, for many."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from tonewheel.errors import InvalidRequest, NotFound
from tonewheel.library.storage import check_content_name, check_work_name
from tonewheel.s3 import Bucket, Keys, RangedFile, split_url
from tonewheel.settings import Settings

_READ_AHEAD = 1 << 20


class ObjectStorage:
    """`Storage` on the S3 API. An object appears whole, so nothing half-written is ever seen."""

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        self._bucket = bucket
        self._contents = f"{prefix}artifacts/"
        self._work = f"{prefix}work/"

    def put(self, sha256: str, source: Path | bytes) -> None:
        if not self.has(sha256):
            self._bucket.put(self._key(sha256), source)

    @contextlib.contextmanager
    def open(self, sha256: str) -> Iterator[BinaryIO]:
        key = self._key(sha256)
        size = self._bucket.size(key)
        if size is None:
            raise NotFound("the file is no longer in the storage")
        with io.BufferedReader(RangedFile(self._bucket, key, size), _READ_AHEAD) as file:
            yield cast(BinaryIO, file)

    def has(self, sha256: str) -> bool:
        return self._bucket.has(self._key(sha256))

    def remove(self, sha256: str) -> None:
        self._bucket.delete(self._key(sha256))

    def old_contents(self, age_s: float) -> list[str]:
        limit = time.time() - age_s
        return [o.key.rsplit("/", 1)[-1] for o in self._bucket.list(self._contents) if o.modified < limit]

    def put_work(self, name: str, source: Path) -> None:
        self._bucket.put(self._work + check_work_name(name), source)

    def fetch_work(self, name: str, scratch: Path) -> Path:
        target = scratch / check_work_name(name).replace("/", "-")
        if not target.exists():
            self._bucket.download(self._work + name, target)
        return target

    def clear_work(self, job: str) -> None:
        check_work_name(f"{job}/x")
        for found in list(self._bucket.list(f"{self._work}{job}/")):
            self._bucket.delete(found.key)

    def work_jobs(self) -> list[str]:
        start = len(self._work)
        return sorted({o.key[start:].split("/")[0] for o in self._bucket.list(self._work)})

    def free_bytes(self) -> int | None:
        return None

    def sweep(self) -> None:
        pass

    def _key(self, sha256: str) -> str:
        check_content_name(sha256)
        return f"{self._contents}{sha256[:2]}/{sha256}"


def open_objects(url: str, settings: Settings) -> ObjectStorage:
    """The storage of `s3://BUCKET/PREFIX`, with the keys of the settings. Raises InvalidRequest."""
    name, prefix = split_url(url)
    access, secret = settings.aws_access_key_id, settings.aws_secret_access_key
    if access is None or secret is None:
        raise InvalidRequest(
            "object storage needs keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", param="storage_url"
        )
    token = settings.aws_session_token.get_secret_value() if settings.aws_session_token else None
    keys = Keys(access.get_secret_value(), secret.get_secret_value(), token)
    return ObjectStorage(Bucket(name, keys, region=settings.aws_region, endpoint=settings.aws_endpoint_url), prefix)
