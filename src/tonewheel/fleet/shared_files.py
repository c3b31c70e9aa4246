"""Files that two models have in common lie on the disk once: the later one gets links to what the earlier one pulled.

A pulled model's folder holds `.pulled.json`: for each file its SHA-256, and its size and time when that was checked.
A file of another model with the same SHA-256 is the same file, from wherever it came. `pull` puts files into their
place by renaming and never writes into one that is there, so that neither model can change the other's; what one
removes stays for the other.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tonewheel.models.base import CardFile

MANIFEST = ".pulled.json"
_LEAST = 1 << 16  # bytes; that unrelated models have the same small file need not be told


@dataclass(frozen=True, slots=True)
class Twin:
    """A file of another model (or another revision) that has the content of one that is wanted."""

    model: str
    path: Path


def note(folder: Path, files: Sequence[CardFile]) -> None:
    """Write down that these files are there and were checked."""
    noted = {f.path: [f.sha256, *stamp(folder / f.path)] for f in files}
    temporary = folder / f"{MANIFEST}.new"
    temporary.write_text(json.dumps(noted))
    temporary.replace(folder / MANIFEST)


def stamp(path: Path) -> list[int]:
    """Size and time of change. Raises OSError."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def find_twins(models: Path, folder: Path, files: Sequence[CardFile]) -> dict[str, Twin]:
    """Among all that was pulled into `models`, save into `folder` → by the path of the wanted file."""
    wanted = {f.sha256 for f in files if f.size_bytes >= _LEAST}
    there: dict[str, Twin] = {}
    for manifest in sorted(models.glob(f"*/*/{MANIFEST}")):
        if manifest.parent == folder:
            continue
        with contextlib.suppress(OSError, ValueError, AttributeError, TypeError, IndexError):
            for name, (sha256, *stamped) in json.loads(manifest.read_text("utf-8")).items():
                path = manifest.parent / name
                if sha256 in wanted and sha256 not in there and stamped == stamp(path):
                    there[sha256] = Twin(manifest.parent.parent.name, path)
    return {f.path: there[f.sha256] for f in files if f.sha256 in there}


def take(twin: Twin, file: CardFile, target: Path) -> bool:
    """Put the twin's content at `target`: a link, or a copy where the file system has none → is it there, and right?

    Raises OSError when the disk is full; after any other fault the file has to be fetched after all.
    """
    beside = target.with_name(target.name + ".twin")
    try:
        beside.unlink(missing_ok=True)
        _link_or_copy(twin.path, beside)
        if sha256_of(beside) != file.sha256:
            return False
        beside.replace(target)
    except OSError as error:  # it was removed meanwhile, may not be read …
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        return False
    finally:
        beside.unlink(missing_ok=True)
    return True


def _link_or_copy(path: Path, to: Path) -> None:
    try:
        os.link(path, to)
    except OSError:  # another file system, or one without links
        shutil.copyfile(path, to)


def bytes_in(folder: Path) -> int:
    """Bytes of all files under a folder."""
    return sum(status.st_size for status in _files_in(folder))


def bytes_shared(folder: Path) -> int:
    """Bytes of a folder's files that stay on the disk when it is removed: they have a second link."""
    return sum(status.st_size for status in _files_in(folder) if status.st_nlink > 1)


def _files_in(folder: Path) -> Iterator[os.stat_result]:
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # a pull beside us has just given it another name
                if stat.S_ISREG((status := os.lstat(Path(place, name))).st_mode):
                    yield status


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
