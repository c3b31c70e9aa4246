"""Storage in a bucket (`s3://…`, `gs://…`): what a folder is on one machine, for many."""

from __future__ import annotations

import contextlib
import io
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from tonewheel.buckets import Bucket, BucketFile
from tonewheel.errors import NotFound, Unavailable
from tonewheel.library.names import check_content_name, check_work_name

log = logging.getLogger(__name__)

_T = TypeVar("_T")
_READ_AHEAD = 1 << 20
_CONTENTS, _WORK = "artifacts/", "work/"
# What was rendered is not rendered again because the storage was away for a moment. The bucket itself waits some
# seconds; a job that still cannot write then tries again from its step's beginning.
_PATIENCE_S = 60.0
_PAUSE_S = 2.0


class ObjectStorage:
    """`Storage` in a bucket. An object appears whole, so nothing half-written is ever seen."""

    def __init__(self, bucket: Bucket, *, patience_s: float = _PATIENCE_S) -> None:
        self._bucket = bucket
        self._patience_s = patience_s

    def check(self) -> None:
        """Raises StorageRefused when nothing can be written there, Unavailable when nobody answers."""
        self._bucket.put("tonewheel.txt", b"Songs of Tonewheel. Its workers write this file when they start.\n")

    def put(self, sha256: str, source: Path | bytes) -> None:
        key = _key(sha256)

        def once() -> None:
            if not self._bucket.has(key):
                self._bucket.put(key, source)

        self._patiently(once)

    @contextlib.contextmanager
    def open(self, sha256: str) -> Iterator[BinaryIO]:
        key = _key(sha256)
        size = self._bucket.size(key)
        if size is None:
            raise NotFound("the file is no longer in the storage")
        with io.BufferedReader(BucketFile(self._bucket, key, size), _READ_AHEAD) as file:
            yield cast(BinaryIO, file)

    def has(self, sha256: str) -> bool:
        return self._bucket.has(_key(sha256))

    def remove(self, sha256: str) -> None:
        self._bucket.delete(_key(sha256))

    def old_contents(self, age_s: float) -> list[str]:
        limit = time.time() - age_s
        return [o.key.rsplit("/", 1)[-1] for o in self._bucket.list(_CONTENTS) if o.modified < limit]

    def put_work(self, name: str, source: Path) -> None:
        key = _WORK + check_work_name(name)
        self._patiently(lambda: self._bucket.put(key, source))

    def fetch_work(self, name: str, scratch: Path) -> Path:
        target = scratch / check_work_name(name).replace("/", "-")
        if not target.exists():
            self._patiently(lambda: self._bucket.download(_WORK + name, target))
        return target

    def clear_work(self, job: str) -> None:
        check_work_name(f"{job}/x")
        for found in list(self._bucket.list(f"{_WORK}{job}/")):
            self._bucket.delete(found.key)

    def work_jobs(self) -> list[str]:
        return sorted({o.key[len(_WORK) :].split("/")[0] for o in self._bucket.list(_WORK)})

    def free_bytes(self) -> int | None:
        return None

    def sweep(self) -> None:
        pass

    def _patiently(self, once: Callable[[], _T]) -> _T:
        until = time.monotonic() + self._patience_s
        while True:
            try:
                return once()
            except Unavailable as e:
                if time.monotonic() > until:
                    raise
                log.warning("%s: again in %.0f s", e.message, _PAUSE_S)
                time.sleep(_PAUSE_S)


def _key(sha256: str) -> str:
    check_content_name(sha256)
    return f"{_CONTENTS}{sha256[:2]}/{sha256}"
