"""Object storage: a bucket, or a folder in one, of Amazon S3, of servers that speak its API, or of Google.

    bucket = open_bucket("s3://songs/tonewheel")        # pip install 'tonewheel[objects]'
    bucket.put("a/b.flac", path); bucket.read("a/b.flac", 0, 100)

`obstore` does the work: signatures, parts of large files, short pauses and retries. Keys come from the settings
(AWS_ACCESS_KEY_ID, …); what it knows besides (roles of containers, encryption, Google's credentials) it reads from
the environment: https://developmentseed.org/obstore/latest/api/store/aws/
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from tonewheel.errors import (
    DiskFull,
    InvalidRequest,
    MissingExtra,
    NotFound,
    StorageRefused,
    TonewheelError,
    Unavailable,
)
from tonewheel.files import whole_file
from tonewheel.settings import Settings, settings

if TYPE_CHECKING:
    from obstore.store import GCSStore, S3Store

SCHEMES = ("s3", "gs")
_PIECE = 1 << 20
_PART = 8 << 20  # of a large file: 10,000 parts are 80 GB
_PARTS_AT_ONCE = 2  # each is in memory
_CLIENT: dict[str, Any] = {
    "allow_http": True,  # a server of one's own on the same network
    "connect_timeout": "5s",
    "read_timeout": "60s",
    "timeout": "12h",  # of a whole file; one that is silent for a minute has ended by `read_timeout`
}
_RETRY: dict[str, Any] = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=30),
    "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=2), "base": 2},
}
# Where else than in the settings keys may come from; without any, S3's own default is to ask a server that exists
# on Amazon's machines only, which elsewhere takes minutes to fail.
_OTHER_KEYS = (
    "AWS_SKIP_SIGNATURE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_METADATA_ENDPOINT",
)  # fmt: skip
_FULL = {"QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"}


@dataclass(frozen=True, slots=True)
class Object:
    """What a listing tells of an object."""

    key: str
    size: int
    modified: float  # seconds since 1970


class Bucket:
    """The objects under one address; keys are relative to it. Thread-safe.

    Errors of all methods: Unavailable (may pass), StorageRefused (will not), DiskFull.
    """

    def __init__(self, store: S3Store | GCSStore, name: str) -> None:
        self._store = store
        self.name = name

    def put(self, key: str, source: Path | bytes) -> None:
        """Write an object: whole, or not at all."""
        import obstore  # noqa: PLC0415

        with contextlib.ExitStack() as files, self._told(key):
            data = source if isinstance(source, bytes) else files.enter_context(source.open("rb"))
            obstore.put(self._store, key, data, chunk_size=_PART, max_concurrency=_PARTS_AT_ONCE)

    def has(self, key: str) -> bool:
        return self.size(key) is not None

    def size(self, key: str) -> int | None:
        """Bytes of an object; None when there is none (nor, perhaps, a bucket: S3 does not tell here)."""
        import obstore  # noqa: PLC0415

        try:
            with self._told(key):
                return obstore.head(self._store, key)["size"]
        except NotFound:
            return None

    def read(self, key: str, start: int, end: int) -> bytes:
        """Bytes `start` to `end` (exclusive) of an object. Raises NotFound."""
        import obstore  # noqa: PLC0415

        if end <= start:
            return b""
        with self._told(key):
            return bytes(obstore.get_range(self._store, key, start=start, end=end))

    def stream(self, key: str, start: int = 0, piece: int = _PIECE) -> Iterator[bytes]:
        """The bytes of an object from `start` on, some `piece` at a time. Raises NotFound."""
        import obstore  # noqa: PLC0415

        with self._told(key):
            found = obstore.get(self._store, key, options={"range": {"offset": start}} if start else None)
            for data in found.stream(piece):
                yield bytes(data)

    def download(self, key: str, target: Path) -> None:
        """An object as a local file, whole or not at all. Raises NotFound."""
        with whole_file(target, force=True) as out:
            for data in self.stream(key):
                out.write(data)

    def delete(self, key: str) -> None:
        """Remove an object; nothing when there is none."""
        import obstore  # noqa: PLC0415

        with contextlib.suppress(NotFound), self._told(key):
            obstore.delete(self._store, key)

    def list(self, prefix: str = "", *, a_page: int = 1000) -> Iterator[Object]:
        """Objects in the folder `prefix`, at any depth."""
        import obstore  # noqa: PLC0415

        with self._told(prefix):
            for page in obstore.list(self._store, prefix or None, chunk_size=a_page):
                for found in page:
                    yield Object(found["path"], found["size"], found["last_modified"].timestamp())

    @contextlib.contextmanager
    def _told(self, key: str) -> Iterator[None]:
        """Errors of the library as ours."""
        from obstore.exceptions import BaseError  # noqa: PLC0415

        try:
            yield
        except (BaseError, FileNotFoundError) as e:
            if isinstance(e, OSError) and e.filename is not None:  # a file of this machine
                raise
            raise self._meaning(e, key) from None  # its text is a page long and names the server

    def _meaning(self, error: Exception, key: str) -> TonewheelError:
        # The library has one type for most faults; what the server said is in its text.
        text = str(error)
        said = re.search(r"<Code>(\w+)</Code>", text)
        code = said[1] if said else ""
        answered = re.search(r"status code: (\d{3})", text)
        status = int(answered[1]) if answered else None
        shown = f"{status} {code}".strip()
        if code in _FULL or status == 507:
            return DiskFull("no room left in the object storage: free some space; nothing was written")
        if code == "NoSuchBucket":
            return StorageRefused(f"there is no bucket {self.name!r} in the object storage: create it, or name another")
        if isinstance(error, FileNotFoundError):
            return NotFound(f"there is no object {key.rpartition('/')[2]!r} in the object storage")
        if "token request" in text or "instance credentials" in text.lower():
            return Unavailable("the keys of the object storage could not be fetched: set them in the environment")
        if status in (401, 403):
            return StorageRefused(
                f"the object storage refuses its keys ({shown}): check the access key, its secret and what "
                f"it may do in the bucket {self.name!r}"
            )
        if status is not None and status < 500 and status not in (408, 429):
            return StorageRefused(f"the object storage refuses ({shown}): check bucket, region and address")
        if "redirect" in text and status is None:
            return StorageRefused(f"the bucket {self.name!r} is in another region: set AWS_REGION")
        if status is not None:
            return Unavailable(f"the object storage cannot serve now ({shown})")
        return Unavailable("the object storage does not answer")


class BucketFile(io.RawIOBase):
    """An object as a file to seek and read in; wrap it in io.BufferedReader."""

    def __init__(self, bucket: Bucket, key: str, size: int) -> None:
        self._bucket, self._key, self._size = bucket, key, size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        data = self._bucket.read(self._key, self._at, min(self._size, self._at + len(view)))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


def open_bucket(url: str, *, param: str = "storage_url", chosen: Settings | None = None) -> Bucket:
    """What is under `s3://BUCKET/PREFIX` or `gs://BUCKET/PREFIX`; nothing is asked of it yet.

    Raises InvalidRequest, about `param`, for an address that is none and for missing keys; MissingExtra.
    """
    scheme, name, prefix = split_url(url, param)
    try:
        from obstore.store import GCSStore, S3Store  # noqa: PLC0415
    except ImportError:
        raise MissingExtra(f"{scheme}:// needs `pip install 'tonewheel[objects]'`", param=param) from None
    common: dict[str, Any] = {"prefix": prefix or None, "client_options": _CLIENT, "retry_config": _RETRY}
    if scheme == "gs":
        return Bucket(GCSStore(name, **common), name)
    return Bucket(S3Store(name, **common, **_amazon(chosen or settings(), param)), name)


def split_url(url: str, param: str = "storage_url") -> tuple[str, str, str]:
    """Scheme, bucket and prefix of `s3://BUCKET/PREFIX`. Raises InvalidRequest."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or not parts.netloc or parts.query or parts.fragment:
        raise InvalidRequest(
            f"{url[:200]!r} is no object storage: write s3://BUCKET/PREFIX or gs://BUCKET/PREFIX", param=param
        )
    return parts.scheme, parts.netloc, unquote(parts.path).strip("/")


def _amazon(chosen: Settings, param: str) -> dict[str, Any]:
    """Keys and place of an S3 server. Raises InvalidRequest when there are no keys."""
    said: dict[str, Any] = {
        "region": chosen.aws_region,
        "disable_bulk_delete": True,  # which not every server of the API has
    }
    if chosen.aws_endpoint_url:
        said["endpoint"] = chosen.aws_endpoint_url.rstrip("/")
    access, secret, token = chosen.aws_access_key_id, chosen.aws_secret_access_key, chosen.aws_session_token
    if access is not None and secret is not None:
        said |= {"access_key_id": access.get_secret_value(), "secret_access_key": secret.get_secret_value()}
        said |= {"session_token": token.get_secret_value()} if token else {}
    elif not any(os.environ.get(name) for name in _OTHER_KEYS):
        raise InvalidRequest(
            "object storage needs keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
            "(AWS_SKIP_SIGNATURE=true for a public bucket)",
            param=param,
        )
    return said
