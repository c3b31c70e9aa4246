"""Object storage over HTTP: the six requests of the S3 API that are needed, signed, retried.

Works with AWS and with anything that speaks its API (MinIO, Garage, Ceph, R2), by the environment
variables all S3 tools use: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION,
AWS_ENDPOINT_URL_S3. Objects are read and written in one piece (up to 5 GB).

Signature: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import io
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

import httpx

from tonewheel.errors import DiskFull, InvalidRequest, NotFound, TonewheelError, Unavailable
from tonewheel.files import whole_file

_T = TypeVar("_T")
_PIECE = 1 << 20
_TRIES = 4
_EMPTY = hashlib.sha256(b"").hexdigest()
_UNSIGNED = frozenset(("content-length", "user-agent", "accept", "accept-encoding", "connection"))
_BUSY = frozenset((429, 500, 502, 503, 504))


@dataclass(frozen=True, slots=True)
class Keys:
    """Who asks."""

    access: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Object:
    """What a listing tells of an object."""

    key: str
    size: int
    modified: float  # seconds since 1970


class Bucket:
    """A bucket. Thread-safe. Errors: NotFound, DiskFull, Unavailable, and TonewheelError for what it refuses."""

    def __init__(
        self, name: str, keys: Keys, *, region: str = "us-east-1", endpoint: str | None = None, timeout_s: float = 60.0
    ) -> None:
        self.name = name
        self._keys = keys
        self._region = region
        # AWS wants the bucket in the host name, servers of one's own in the path.
        own = f"https://{name}.s3.{region}.amazonaws.com"
        self._base = own if endpoint is None else f"{endpoint.rstrip('/')}/{quote(name, safe='')}"
        self._client = httpx.Client(timeout=httpx.Timeout(timeout_s, connect=5.0))

    def put(self, key: str, source: Path | bytes) -> None:
        """Write an object: whole, or not at all."""
        digest, size = _measured(source)

        def once() -> None:
            with _opened(source) as data:
                headers = {"content-length": str(size)}
                self._answer("PUT", key, headers=headers, digest=digest, content=data).close()

        self._patiently(once)

    def has(self, key: str) -> bool:
        return self.size(key) is not None

    def size(self, key: str) -> int | None:
        """Bytes of an object; None when there is none."""

        def once() -> int | None:
            try:
                with contextlib.closing(self._answer("HEAD", key)) as answer:
                    return int(answer.headers["content-length"])
            except NotFound:
                return None

        return self._patiently(once)

    def read(self, key: str, start: int, end: int) -> bytes:
        """Bytes `start` to `end` (exclusive) of an object."""

        def once() -> bytes:
            headers = {"range": f"bytes={start}-{end - 1}"}
            with contextlib.closing(self._answer("GET", key, headers=headers)) as answer:
                return answer.read()

        return b"" if end <= start else self._patiently(once)

    def download(self, key: str, target: Path) -> None:
        """An object as a local file, whole or not at all."""

        def once() -> None:
            with contextlib.closing(self._answer("GET", key)) as answer, whole_file(target, force=True) as out:
                for piece in answer.iter_bytes(_PIECE):
                    out.write(piece)

        self._patiently(once)

    def delete(self, key: str) -> None:
        """Remove an object; nothing when there is none."""
        with contextlib.suppress(NotFound):
            self._patiently(lambda: self._answer("DELETE", key).close())

    def list(self, prefix: str, *, a_page: int = 1000) -> Iterator[Object]:
        """Objects whose keys begin with `prefix`, in the order of their keys."""
        token: str | None = None
        while True:
            query = {"list-type": "2", "prefix": prefix, "max-keys": str(a_page)}
            query |= {"continuation-token": token} if token else {}

            def once(query: Mapping[str, str] = query) -> ElementTree.Element:
                with contextlib.closing(self._answer("GET", "", query=query)) as answer:
                    return ElementTree.fromstring(answer.read())

            page = self._patiently(once)
            space = page.tag[: page.tag.index("}") + 1] if page.tag.startswith("{") else ""
            for item in page.iter(f"{space}Contents"):
                text = {name: item.findtext(f"{space}{name}") or "" for name in ("Key", "Size", "LastModified")}
                modified = datetime.fromisoformat(text["LastModified"].replace("Z", "+00:00")).timestamp()
                yield Object(text["Key"], int(text["Size"]), modified)
            token = page.findtext(f"{space}NextContinuationToken")
            if not token:
                return

    def close(self) -> None:
        self._client.close()

    def _answer(
        self,
        method: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        digest: str = _EMPTY,
        content: bytes | Iterator[bytes] | None = None,
    ) -> httpx.Response:
        """The answer, its body not yet read. Raises for a status that is none of success."""
        url = f"{self._base}/{quote(key, safe='/-_.~')}" + (f"?{_query(query)}" if query else "")
        signed = sign(method, url, headers or {}, digest, datetime.now(UTC), self._keys, self._region)
        request = self._client.build_request(method, url, headers=signed, content=content)
        try:
            answer = self._client.send(request, stream=True)
        except httpx.HTTPError as e:
            raise Unavailable(f"the object storage does not answer: {type(e).__name__}") from e
        if answer.is_success:
            return answer
        with contextlib.closing(answer):
            raise _refusal(answer)

    def _patiently(self, once: Callable[[], _T]) -> _T:
        for attempt in range(1, _TRIES + 1):
            try:
                return once()
            except Unavailable:
                if attempt == _TRIES:
                    raise
                time.sleep(0.2 * 4**attempt / 4)
        raise AssertionError  # the last try has returned or raised


class RangedFile(io.RawIOBase):
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


def sign(
    method: str, url: str, headers: Mapping[str, str], payload: str, when: datetime, keys: Keys, region: str
) -> dict[str, str]:
    """The headers of a request with its signature (version 4); `payload` is the SHA-256 of its body."""
    parts = urlsplit(url)
    stamp, day = when.strftime("%Y%m%dT%H%M%SZ"), when.strftime("%Y%m%d")
    made = {"host": parts.netloc, "x-amz-content-sha256": payload, "x-amz-date": stamp}
    if keys.token:
        made["x-amz-security-token"] = keys.token
    full = {k.lower(): v.strip() for k, v in headers.items()} | made
    names = sorted(n for n in full if n not in _UNSIGNED)
    canonical = "\n".join(
        (method, parts.path or "/", parts.query, *(f"{n}:{full[n]}" for n in names), "", ";".join(names), payload)
    )
    scope = f"{day}/{region}/s3/aws4_request"
    text = "\n".join(("AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    secret = f"AWS4{keys.secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        secret = hmac.digest(secret, part.encode(), "sha256")
    signature = hmac.new(secret, text.encode(), "sha256").hexdigest()
    full["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={keys.access}/{scope},SignedHeaders={';'.join(names)},Signature={signature}"
    )
    return full


def split_url(url: str) -> tuple[str, str]:
    """Bucket and prefix of `s3://BUCKET/PREFIX`; the prefix ends with / or is empty. Raises InvalidRequest."""
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc:
        raise InvalidRequest(f"{url[:200]!r} is no object storage: write s3://BUCKET/PREFIX", param="storage_url")
    prefix = parts.path.strip("/")
    return parts.netloc, f"{prefix}/" if prefix else ""


def _query(query: Mapping[str, str]) -> str:
    return "&".join(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in sorted(query.items()))


def _measured(source: Path | bytes) -> tuple[str, int]:
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest(), len(source)
    with source.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest(), source.stat().st_size


@contextlib.contextmanager
def _opened(source: Path | bytes) -> Iterator[bytes | Iterator[bytes]]:
    if isinstance(source, bytes):
        yield source
        return
    with source.open("rb") as f:
        yield iter(lambda: f.read(_PIECE), b"")


def _refusal(answer: httpx.Response) -> TonewheelError:
    """What a status means. The body may hold the reason as XML; a HEAD has none."""
    with contextlib.suppress(httpx.HTTPError):
        answer.read()
    code = ""
    with contextlib.suppress(ElementTree.ParseError, httpx.ResponseNotRead):
        root = ElementTree.fromstring(answer.content)
        code = next((e.text or "" for e in root.iter() if e.tag.split("}")[-1] == "Code"), "")
    if code in ("QuotaExceeded", "XMinioStorageFull") or answer.status_code == httpx.codes.INSUFFICIENT_STORAGE:
        return DiskFull("no room left in the object storage: free some space; nothing was written")
    if answer.status_code == httpx.codes.NOT_FOUND and code != "NoSuchBucket":
        return NotFound("the file is no longer in the object storage")
    if answer.status_code in _BUSY:
        return Unavailable(f"the object storage cannot serve now ({answer.status_code} {code})")
    return TonewheelError(
        f"the object storage refuses ({answer.status_code} {code}): check bucket, region and the AWS_… keys"
    )
