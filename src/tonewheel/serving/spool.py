"""Files kept a little while so that they can be fetched as bytes: what `/predict/stream` links to."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tonewheel.errors import NotFound
from tonewheel.serving.answer import File

KEPT_S = 600.0
KEPT_FILES = 256  # the oldest goes first
_PREFIX = "tonewheel-files-"


@dataclass(frozen=True, slots=True)
class Kept:
    """A file on disk under an id nobody can guess."""

    id: str
    path: Path
    media_type: str
    file_name: str
    size_bytes: int
    sha256: str
    until: float  # time.monotonic()

    def link(self) -> dict[str, Any]:
        return {
            "url": f"/v1/files/{self.id}",
            "media_type": self.media_type,
            "file_name": self.file_name,
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
        }


class Spool:
    """A folder of its own, gone when the service ends. Thread-safe: workers put, the event loop gets."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._kept: dict[str, Kept] = {}
        self._lock = threading.Lock()

    def put(self, file: File) -> Kept:
        """Write `file`. Raises OSError (a full disk) after taking back what was written."""
        with self._lock:
            self._sweep()
            if self._folder is None:
                _sweep_the_dead()
                self._folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
            name = secrets.token_urlsafe(18)
            path = self._folder / name
        try:
            path.write_bytes(file.data)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        digest = hashlib.sha256(file.data).hexdigest()
        kept = Kept(name, path, file.media_type, file.file_name, len(file.data), digest, time.monotonic() + KEPT_S)
        with self._lock:
            self._kept[name] = kept
        return kept

    def get(self, name: str) -> Kept:
        """Raises NotFound; the id is looked up, never made into a path."""
        with self._lock:
            self._sweep()
            kept = self._kept.get(name)
        if kept is None:
            raise NotFound("there is no such file: results are kept ten minutes", param="id")
        return kept

    @staticmethod
    def open(kept: Kept) -> BinaryIO:
        """The bytes. Raises NotFound when it was let go of a moment ago."""
        try:
            return kept.path.open("rb")
        except FileNotFoundError:
            raise NotFound("there is no such file any more", param="id") from None

    def drop(self, name: str) -> None:
        kept = self.get(name)
        with self._lock:
            self._forget(kept)

    def close(self) -> None:
        with self._lock:
            self._kept.clear()
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)

    def _sweep(self) -> None:
        now = time.monotonic()
        late = [k for k in self._kept.values() if k.until < now]
        surplus = list(self._kept.values())[: max(0, len(self._kept) - KEPT_FILES + 1)]
        for kept in {k.id: k for k in (*late, *surplus)}.values():
            self._forget(kept)

    def _forget(self, kept: Kept) -> None:
        self._kept.pop(kept.id, None)
        kept.path.unlink(missing_ok=True)


def _sweep_the_dead() -> None:
    """Remove what services left behind that were killed: our own user's folders of processes that are gone."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
        try:
            if pid.isdecimal() and folder.lstat().st_uid == os.getuid() and not folder.is_symlink():
                os.kill(int(pid), 0)
        except (ProcessLookupError, OverflowError):
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # somebody else's by now
            continue


def linked(body: Mapping[str, Any], spool: Spool) -> dict[str, Any]:
    """`body` without its files, and a list `files` of links in their place (`field` tells where each stood)."""
    links: list[dict[str, Any]] = []
    kept: dict[int, Kept] = {}

    def without(value: Any, place: str) -> Any:
        if isinstance(value, File):
            if id(value) not in kept:
                kept[id(value)] = spool.put(value)
            links.append({"field": place, **kept[id(value)].link()})
            return None
        if isinstance(value, Mapping):
            parts = {k: without(v, f"{place}.{k}" if place else str(k)) for k, v in value.items()}
            return {k: v for k, v in parts.items() if not isinstance(value[k], File)}
        if isinstance(value, (list, tuple)):
            return [without(v, f"{place}[{i}]") for i, v in enumerate(value)]
        return value

    return {**without(body, ""), "files": links}
