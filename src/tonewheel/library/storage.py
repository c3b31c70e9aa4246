"""Where the bytes are: a folder, or object storage (`objects.py`), behind the same few verbs.

Two kinds of keys: content by its SHA-256, written once and never changed, and work files of a job
(`work/JOB/NAME`), which its steps hand to each other and which go when it ends. Every worker must
see the same storage: a step that was done on one host is not repeated on another.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from tonewheel.buckets import SCHEMES, open_bucket
from tonewheel.errors import DiskFull, InvalidRequest, NotFound, Unavailable
from tonewheel.files import whole_file
from tonewheel.library.names import check_content_name, check_work_name, is_content_name

_PIECE = 1 << 20
_HALF_WRITTEN_S = 24 * 3600.0  # a `.part` older than this belongs to nobody


class Storage(Protocol):
    """Bytes by content and by work name. Errors: DiskFull, Unavailable, StorageRefused, NotFound."""

    def check(self) -> None:
        """Whether it can be written, asked when a worker starts. Raises StorageRefused for what will not pass by
        itself, Unavailable, DiskFull."""
        ...

    def put(self, sha256: str, source: Path | bytes) -> None:
        """Keep a file or bytes under their SHA-256 (`measured`). The same content twice is kept once."""
        ...

    def open(self, sha256: str) -> contextlib.AbstractContextManager[BinaryIO]:
        """A seekable file. Raises NotFound."""
        ...

    def has(self, sha256: str) -> bool: ...

    def remove(self, sha256: str) -> None:
        """Forget a content; nothing when it is not there."""
        ...

    def old_contents(self, age_s: float) -> list[str]:
        """What was stored longer ago than that."""
        ...

    def put_work(self, name: str, source: Path) -> None:
        """Keep a work file `JOB/NAME`; the source may be moved."""
        ...

    def fetch_work(self, name: str, scratch: Path) -> Path:
        """A local file to read from: the stored one itself, or a copy in `scratch`. Raises NotFound."""
        ...

    def clear_work(self, job: str) -> None:
        """Forget all work files of a job."""
        ...

    def work_jobs(self) -> list[str]:
        """Jobs that have work files."""
        ...

    def free_bytes(self) -> int | None:
        """Room left; None where that cannot be told."""
        ...

    def sweep(self) -> None:
        """Remove what writers that were killed left half-written."""
        ...


class FolderStorage:
    """Storage in a folder of this machine, or one that all machines mount."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._contents = folder / "artifacts"
        self._work = folder / "work"

    def check(self) -> None:
        _make_folder(self.folder)

    def put(self, sha256: str, source: Path | bytes) -> None:
        target = self._path(sha256)
        if target.exists():
            return
        _make_folder(target.parent)
        with whole_file(target, force=True) as out:
            if isinstance(source, bytes):
                out.write(source)
            else:
                with source.open("rb") as f:
                    shutil.copyfileobj(f, out, _PIECE)

    @contextlib.contextmanager
    def open(self, sha256: str) -> Iterator[BinaryIO]:
        try:
            file = self._path(sha256).open("rb")
        except FileNotFoundError:
            raise NotFound("the file is no longer in the storage") from None
        with file:
            yield file

    def has(self, sha256: str) -> bool:
        return self._path(sha256).exists()

    def remove(self, sha256: str) -> None:
        self._path(sha256).unlink(missing_ok=True)

    def old_contents(self, age_s: float) -> list[str]:
        limit = time.time() - age_s
        found: list[str] = []
        for path in self._contents.glob("??/*"):
            with contextlib.suppress(OSError):
                if is_content_name(path.name) and path.stat().st_mtime < limit:
                    found.append(path.name)
        return found

    def put_work(self, name: str, source: Path) -> None:
        target = self._work_path(name)
        _make_folder(target.parent)
        with source.open("rb") as f, whole_file(target, force=True) as out:
            shutil.copyfileobj(f, out, _PIECE)

    def fetch_work(self, name: str, scratch: Path) -> Path:
        path = self._work_path(name)
        if not path.is_file():
            raise NotFound("a file of an earlier step is not in this worker's storage")
        return path

    def clear_work(self, job: str) -> None:
        shutil.rmtree(self._work_path(f"{job}/x").parent, ignore_errors=True)

    def work_jobs(self) -> list[str]:
        return sorted(p.name for p in self._work.iterdir() if p.is_dir()) if self._work.is_dir() else []

    def free_bytes(self) -> int | None:
        at = self.folder
        while not at.exists() and at != at.parent:
            at = at.parent
        return shutil.disk_usage(at).free

    def sweep(self) -> None:
        limit = time.time() - _HALF_WRITTEN_S
        for folder, _, names in os.walk(self.folder):  # not rglob, which ends at a folder that is removed meanwhile
            for path in (Path(folder) / name for name in names if name.startswith(".tonewheel-")):
                with contextlib.suppress(OSError):
                    if path.stat().st_mtime < limit:
                        path.unlink()

    def _path(self, sha256: str) -> Path:
        check_content_name(sha256)
        return self._contents / sha256[:2] / sha256

    def _work_path(self, name: str) -> Path:
        return self._work / check_work_name(name)


def open_storage(url: str | None, data_dir: Path) -> Storage:
    """The storage of a setting: None = in the data folder, a path or `file:///…` = that folder, `s3://…` or
    `gs://…` = objects. Raises InvalidRequest, MissingExtra."""
    if url is None:
        return FolderStorage(data_dir)
    parts = urlsplit(url)
    if parts.scheme == "file":
        return FolderStorage(Path(unquote(parts.path)))
    if parts.scheme == "":
        return FolderStorage(Path(url))
    if parts.scheme in SCHEMES:
        from tonewheel.library.objects import ObjectStorage  # noqa: PLC0415  (a folder needs none of it)

        return ObjectStorage(open_bucket(url))
    raise InvalidRequest(
        f"{parts.scheme!r} storage is not supported: name a folder that all workers see (file:///…), s3://BUCKET or "
        "gs://BUCKET",
        param="storage_url",
    )


def measured(source: Path | bytes) -> tuple[str, int]:
    """SHA-256 and size of a file or of bytes."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest(), len(source)
    with source.open("rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
        return digest, os.fstat(f.fileno()).st_size


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull("no room left in the storage: free some space; nothing was written") from e
        raise Unavailable(f"the storage cannot be written: {e.strerror or e}") from e
