"""Where weights come from: a folder, a hub, a bucket; each gives the bytes of a file from any offset on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, unquote, urlsplit

from tonewheel.buckets import SCHEMES, open_bucket
from tonewheel.errors import DiskFull, InvalidRequest, NotFound, NotSupported, PullFailed, StorageRefused, Unavailable
from tonewheel.models.base import CardFile
from tonewheel.settings import settings

CHUNK = 1 << 20
_TIMEOUT_S = 30.0
_MOST_UNLISTED = 32 << 20  # bytes; the hub lists larger files with a SHA-256


class Source(Protocol):
    """Where files are read from."""

    def read(self, path: str, offset: int) -> Iterator[bytes]:
        """The bytes of a file from `offset` on. Raises PullFailed."""
        ...

    def files(self, patterns: Sequence[str]) -> Sequence[CardFile]:
        """The files whose names match, with the hashes it states or they have. Raises PullFailed.

        A pattern without a folder means files at its top, `unet/*.json` those right in that folder.
        """
        ...

    def __enter__(self) -> Any: ...

    def __exit__(self, *_: object) -> None: ...


def open_source(source: str, revision: str) -> Source:
    """The source by its name on the card. Raises InvalidRequest, NotSupported, MissingExtra."""
    if source.startswith("hf:"):
        return Hub(hub_url(), source[3:], revision or "main")
    if source.startswith(("https://", "http://")):
        return Web(source)
    if source.partition("://")[0] in SCHEMES:
        return Objects(source)
    path = Path(unquote(urlsplit(source).path)) if source.startswith("file://") else Path(source).expanduser()
    if not path.is_dir():
        raise InvalidRequest(f"the source {source[:200]} is no folder on this machine", param="source")
    return Folder(path)


def hub_url() -> str:
    """Base URL of the hub. Raises NotSupported when neither a setting nor huggingface_hub names one."""
    if settings().hub_url:
        return str(settings().hub_url).rstrip("/")
    try:
        from huggingface_hub.constants import ENDPOINT  # noqa: PLC0415
    except ImportError:
        raise NotSupported(
            "no hub is set: set TONEWHEEL_HUB_URL, install huggingface_hub, or pull from a folder (--from FOLDER)"
        ) from None
    return str(ENDPOINT).rstrip("/")


class Folder:
    """A folder on this machine: a stick, a network drive."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, path: str, offset: int) -> Iterator[bytes]:
        try:
            with (self._path / path).open("rb") as file:
                file.seek(offset)
                while chunk := file.read(CHUNK):
                    yield chunk
        except FileNotFoundError:
            raise _finally(f"the source has no file {path}") from None

    def files(self, patterns: Sequence[str]) -> Sequence[CardFile]:
        folders = (self._path / folder for folder in _folders(patterns))
        there = [p for folder in folders if folder.is_dir() for p in folder.iterdir() if p.is_file()]
        names = _matching([p.relative_to(self._path).as_posix() for p in there], patterns)
        return [_hashed(name, self.read(name, 0)) for name in names]


class Hub:
    """A hub's files by HTTP, from any byte on."""

    def __init__(self, base: str, repository: str, revision: str) -> None:
        import httpx  # noqa: PLC0415  (a pull from a folder needs none of it)

        self._httpx = httpx
        self._repository, self._revision = repository, revision
        headers = {"accept-encoding": "identity"} | self._authorization()  # of a compressed answer no byte is known
        self._client = httpx.Client(base_url=base, headers=headers, timeout=_TIMEOUT_S, follow_redirects=True)

    def __enter__(self) -> Hub:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def _authorization(self) -> dict[str, str]:
        token = settings().hub_token
        # httpx drops it on a redirect elsewhere.
        return {"authorization": f"Bearer {token.get_secret_value()}"} if token is not None else {}

    def _address(self, path: str) -> str:
        return f"/{quote(self._repository)}/resolve/{quote(self._revision, safe='')}/{quote(path)}"

    def read(self, path: str, offset: int) -> Iterator[bytes]:
        url = self._address(path)
        headers = {"range": f"bytes={offset}-"} if offset else {}
        try:
            with self._client.stream("GET", url, headers=headers) as response:
                skip = self._checked(response.status_code, response.headers.get("content-range"), path, offset)
                for chunk in response.iter_bytes(CHUNK):
                    # A server that knows no ranges sends all: what is here already is passed over.
                    yield chunk[skip:]
                    skip = max(0, skip - len(chunk))
        except self._httpx.ConnectError as error:
            raise self._unreached() from error
        except self._httpx.HTTPError as error:
            raise PullFailed(
                f"{path}: the hub broke off ({type(error).__name__}): what has arrived is kept; pull again to go on"
            ) from error

    def files(self, patterns: Sequence[str]) -> Sequence[CardFile]:
        """Large files are listed with their SHA-256; small ones with git's own hash, to which they are held."""
        url = f"/api/models/{quote(self._repository)}/tree/{quote(self._revision, safe='')}"
        try:
            listed: dict[str, Any] = {}
            for folder in _folders(patterns):
                response = self._client.get(f"{url}/{quote(folder)}" if folder else url)
                self._checked(response.status_code, None, f"the list of files {folder}".rstrip(), 0)
                listed |= {str(e["path"]): e for e in response.json() if e.get("type") == "file"}
            return [self._listed(name, listed[name]) for name in _matching(listed, patterns)]
        except self._httpx.ConnectError as error:
            raise self._unreached() from error
        except self._httpx.HTTPError as error:
            raise PullFailed(f"the hub did not list its files ({type(error).__name__}): pull again") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PullFailed(f"the hub's list of files cannot be read ({type(error).__name__})") from error

    def _listed(self, name: str, entry: dict[str, Any]) -> CardFile:
        if large := entry.get("lfs"):
            return CardFile(path=name, size_bytes=large["size"], sha256=str(large["oid"]).removeprefix("sha256:"))
        if int(entry["size"]) > _MOST_UNLISTED:
            raise _finally(f"the hub states no SHA-256 of {name}: it is not taken")
        data = b"".join(self.read(name, 0))
        git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        if git != entry["oid"]:
            raise _finally(f"{name} is not the file the hub lists: its git hash is {git[:12]}…")
        return _hashed(name, [data])

    def _checked(self, status: int, content_range: str | None, path: str, offset: int) -> int:
        """How many bytes of the answer to pass over. Raises PullFailed."""
        if status == 206 and content_range is not None and content_range.startswith(f"bytes {offset}-"):
            return 0
        if status == 200:
            return offset
        raise self._refusal(status, path)

    def _unreached(self) -> PullFailed:
        return PullFailed(
            f"{self._client.base_url.host} cannot be reached: check this machine's connection and pull again, or pull "
            "from a folder (--from FOLDER)"
        )

    def _refusal(self, status: int, path: str) -> PullFailed:
        name = f"{self._repository} at {self._revision}"
        if status in (401, 403):
            return _finally(
                f"the hub does not give {path} of {name} ({status}): agree to its licence there and set "
                "TONEWHEEL_HUB_TOKEN"
            )
        if status == 404:
            return _finally(f"the hub has no {path} in {name}")
        return PullFailed(f"the hub answered {status} for {path} of {name}: try again later")


class Web(Hub):
    """A folder of any web server (`https://…`), where a file keeps the path it has on the card. It cannot be listed."""

    def __init__(self, url: str) -> None:
        super().__init__(url.rstrip("/"), url[:200], "")

    def _authorization(self) -> dict[str, str]:
        return {}  # the hub's token is nobody else's business

    def _address(self, path: str) -> str:
        return f"/{quote(path)}"

    def files(self, patterns: Sequence[str]) -> Sequence[CardFile]:
        raise _finally(
            f"no hashes are known of the files at {self._repository}: fetch {patterns[0]} yourself and pull it with "
            "--from FOLDER"
        )

    def _refusal(self, status: int, path: str) -> PullFailed:
        refused = f"{self._repository} answered {status} for {path}"
        return PullFailed(f"{refused}: try again later") if status >= 500 else _finally(refused)


class Objects:
    """A folder of a bucket (`s3://BUCKET/FOLDER`, `gs://…`), where a file keeps the path it has on the card."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._bucket = open_bucket(url, param="source")

    def __enter__(self) -> Objects:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, path: str, offset: int) -> Iterator[bytes]:
        try:
            yield from self._bucket.stream(path, offset, CHUNK)
        except NotFound:
            raise _finally(f"{self._url[:200]} has no {path}") from None
        except StorageRefused as refused:
            raise _finally(refused.message) from refused
        except (Unavailable, DiskFull) as error:
            raise PullFailed(f"{path}: {error.message}: what has arrived is kept; pull again to go on") from error

    def files(self, patterns: Sequence[str]) -> Sequence[CardFile]:
        try:
            names = [entry.key for entry in self._bucket.list()]
        except StorageRefused as refused:
            raise _finally(refused.message) from refused
        except Unavailable as error:
            raise PullFailed(error.message) from error
        return [_hashed(name, self.read(name, 0)) for name in _matching(names, patterns)]


class Within:
    """Another source seen from further up: `folder` holds what lies at its top."""

    def __init__(self, folder: str, origin: Source) -> None:
        self._folder, self._origin = folder, origin

    def __enter__(self) -> Within:
        self._origin.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._origin.__exit__(*exception)

    def read(self, path: str, offset: int) -> Iterator[bytes]:
        return self._origin.read(path.removeprefix(f"{self._folder}/"), offset)

    def files(self, patterns: Sequence[str]) -> Sequence[CardFile]:
        plain = [pattern.removeprefix(f"{self._folder}/") for pattern in patterns]
        return [f.model_copy(update={"path": f"{self._folder}/{f.path}"}) for f in self._origin.files(plain)]


def _folders(patterns: Sequence[str]) -> list[str]:
    """Those the patterns speak of, each once; empty is the top."""
    return list(dict.fromkeys(pattern.rpartition("/")[0] for pattern in patterns))


def _matching(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """Names that match one of the patterns, folder and all, sorted. Raises PullFailed when none does."""
    wanted = [pattern.rpartition("/")[::2] for pattern in patterns]
    found = sorted(
        name for name in names
        if any(name.rpartition("/")[0] == folder and fnmatchcase(name.rpartition("/")[2], pattern)
               for folder, pattern in wanted)
    )  # fmt: skip
    if not found:
        raise _finally(f"the source has none of the files of this model ({', '.join(patterns)})")
    return found


def _hashed(name: str, pieces: Iterable[bytes]) -> CardFile:
    digest, size = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
    return CardFile(path=name, size_bytes=size, sha256=digest.hexdigest())


def _finally(message: str) -> PullFailed:
    """A failure that trying again does not heal."""
    error = PullFailed(message)
    error.retryable = False
    return error
