"""Files that appear whole or not at all.

A result is written beside its target under a name nobody can guess, flushed to the disk and only
then given its real name, so that a full disk, an exception or Ctrl-C never leaves half a song.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from tonewheel.errors import DiskFull, OutputRefused, TonewheelError

try:
    import fcntl
except ImportError:  # Windows: a killed writer's file stays there
    fcntl = None  # type: ignore[assignment]

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {
    errno.EACCES: "you may not write there",
    errno.EPERM: "you may not write there",
    errno.EROFS: "the file system is read-only",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.ENOENT: "the folder does not exist",
    errno.ELOOP: "the path is a loop of links",
    errno.EISDIR: "it is a folder",
    errno.ETXTBSY: "it is a program that is running",
    errno.EINVAL: "the name is not allowed on this file system",
    errno.EILSEQ: "the name is not allowed on this file system",
}


def check_target(path: Path | str, force: bool = False) -> Path:
    """The real path `path` would be written to; call it before long work.

    Refuses (OutputRefused) a target that exists unless `force`, one that is a folder or not a
    regular file even with `force`, and a folder that is missing or may not be written.
    """
    try:
        target = _resolved(Path(path))
        mode = _mode_of(target)
        parent_mode = _mode_of(target.parent)
    except ValueError:  # a NUL in the name
        raise _refused_nul(path) from None
    except OSError as e:
        raise _refusal(e, path) from None
    if parent_mode is None or not stat.S_ISDIR(parent_mode):
        raise OutputRefused(
            f"cannot write {_shown(path)}: the folder {_shown(target.parent)} does not exist: create it first "
            f"or choose another place",
            param="output",
        )
    _check_existing(path, mode, force)
    # Trying is the only sure answer: root passes os.access on file systems that take no files.
    with _translated(path, all_errors=True):
        _Part(target).discard()
    return target


def _check_existing(path: Path | str, mode: int | None, force: bool) -> None:
    if mode is None:
        return
    if stat.S_ISDIR(mode):
        raise OutputRefused(f"cannot write {_shown(path)}: it is a folder: name a file in it", param="output")
    if not stat.S_ISREG(mode):
        # Replacing /dev/null or a pipe by a song would damage the machine.
        raise OutputRefused(f"cannot write {_shown(path)}: it is not a regular file: name another", param="output")
    if not force:
        raise OutputRefused(_exists(path), param="output")


@contextlib.contextmanager
def whole_file(path: Path | str, *, force: bool = False) -> Iterator[BinaryIO]:
    """A binary file that takes the name `path` when the block ends well, and vanishes otherwise.

    Raises OutputRefused (see `check_target`) and DiskFull.
    """
    target = check_target(path, force)
    with _translated(path, all_errors=True):
        part = _Part(target)
    try:
        # Only a lack of room is ours to explain here: other errors may come from the caller's own work.
        with _translated(path, all_errors=False):
            yield part.file
            part.finish()
        with _translated(path, all_errors=True):
            part.place(force, path)
    finally:
        part.discard()
    _sync(target.parent)


@contextlib.contextmanager
def whole_folder(path: Path | str, *, force: bool = False) -> Iterator[Path]:
    """An empty folder to fill; its files appear as the folder `path` when the block ends well, or not at all.

    With `force` they join an existing folder: files of the same names are replaced, all others stay.
    Raises OutputRefused (see `check_folder`) and DiskFull.
    """
    target = check_folder(path, force)
    exists = target.is_dir()
    temporary = _unguessable(target if exists else target.parent)
    try:
        with _translated(path, all_errors=True):
            temporary.mkdir()
        with _translated(path, all_errors=False):
            yield temporary
        with _translated(path, all_errors=True):
            for file in sorted(temporary.iterdir()):
                _sync(file)
            if exists:
                _join(temporary, target, force)
            else:
                temporary.rename(target)  # refused by the system when a folder with content appeared meanwhile
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _sync(target.parent)


def check_folder(path: Path | str, force: bool = False) -> Path:
    """The real path of a folder to be made; call it before long work.

    Refuses (OutputRefused) one that has content unless `force`, a file in its place, and what may not be written.
    """
    try:
        target = _resolved(Path(path))
        content = target.is_dir() and any(target.iterdir())
    except ValueError:
        raise _refused_nul(path) from None
    except OSError as e:
        raise _refusal(e, path) from None
    if not target.is_dir():
        return check_target(path, force=False)
    if content and not force:
        raise OutputRefused(
            f"the folder {_shown(path)} has files already: choose another, or give --force to add to it", param="output"
        )
    check_target(target / "tonewheel", force=True)  # may its folder be written?
    return target


def _join(folder: Path, target: Path, force: bool) -> None:
    """Move the files of `folder` into `target`, all or none."""
    moves = [_Move(file, target / file.name) for file in sorted(folder.iterdir())]
    for move in moves:
        check_target(move.target, force)
    try:
        _place_all(moves, [m.target for m in moves], force)
    finally:
        for move in moves:
            move.discard()


def write_set(files: Mapping[Path, bytes], *, force: bool = False) -> None:
    """Write several files as one set: either all of them appear or none.

    All targets are checked before anything is written, and nothing takes its name before everything
    is on the disk. Raises OutputRefused and DiskFull.
    """
    targets = [check_target(path, force) for path in files]
    for path, target in zip(files, targets, strict=True):
        if targets.count(target) > 1:
            raise OutputRefused(f"{_shown(path)} is named twice as an output: give each its own name", param="output")
    parts: list[_Part] = []
    try:
        for (path, data), target in zip(files.items(), targets, strict=True):
            with _translated(path, all_errors=True):
                parts.append(part := _Part(target))
                part.file.write(data)
                part.finish()
        _place_all(parts, list(files), force)
    finally:
        for part in parts:
            part.discard()
    for folder in {t.parent for t in targets}:
        _sync(folder)


def _place_all(parts: Sequence[_Move], paths: Sequence[Path], force: bool) -> None:
    placed: list[_Move] = []
    try:
        for part, path in zip(parts, paths, strict=True):
            with _translated(path, all_errors=True):
                part.keep_old()
                part.place(force, path)
            placed.append(part)
    except BaseException:
        for part in reversed(placed):
            part.take_back()
        raise


class _Move:
    """A finished file on its way to its name, and a second link to what it replaces."""

    def __init__(self, temporary: Path, target: Path) -> None:
        self.temporary = temporary
        self.target = target
        self.old: Path | None = None

    def place(self, force: bool, shown: Path | str) -> None:
        """Give the file its name; without `force` a file that appeared meanwhile is not replaced."""
        if force:
            self.temporary.replace(self.target)
            return
        try:
            os.link(self.temporary, self.target)
        except FileExistsError:
            raise OutputRefused(_exists(shown), param="output") from None
        except (OSError, NotImplementedError):  # a file system without hard links
            if os.path.lexists(self.target):
                raise OutputRefused(_exists(shown), param="output") from None
            self.temporary.rename(self.target)

    def keep_old(self) -> None:
        backup = _unguessable(self.target.parent, "old")  # nobody's to sweep
        # Without hard links a replaced file cannot be brought back; the new one is whole all the same.
        with contextlib.suppress(OSError, NotImplementedError):
            os.link(self.target, backup)
            self.old = backup

    def take_back(self) -> None:
        if self.old is not None:
            self.old.replace(self.target)
        else:
            self.target.unlink(missing_ok=True)

    def discard(self) -> None:
        for leftover in (self.temporary, self.old):
            if leftover is not None:
                with contextlib.suppress(OSError):
                    leftover.unlink(missing_ok=True)


class _Part(_Move):
    """A file being written beside its target. Its writer holds a lock on it until it has its name, which tells `sweep`
    that it is still written; the kernel lets go of it however the writer ends."""

    def __init__(self, target: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        while True:
            super().__init__(_unguessable(target.parent), target)
            self._number: int | None = os.open(self.temporary, flags, 0o666)
            if _claimed(self._number):
                break
            os.close(self._number)  # swept before it could be claimed
        self.file: BinaryIO = os.fdopen(self._number, "wb", closefd=False)

    def finish(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        if fcntl is None:
            self._close()  # an open file cannot be renamed there

    def discard(self) -> None:
        with contextlib.suppress(OSError):  # closing flushes, and the disk may be full
            self.file.close()
        if fcntl is None:
            self._close()
        super().discard()
        self._close()

    def _close(self) -> None:
        if self._number is not None:
            with contextlib.suppress(OSError):
                os.close(self._number)
            self._number = None


def _claimed(number: int) -> bool:
    """Lock a new file; False: somebody swept it first."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(number, fcntl.LOCK_EX)  # waits at most for one who sweeps
    except OSError:  # a file system without locks: nobody sweeps there
        return True
    return os.fstat(number).st_nlink > 0


def sweep(folder: Path) -> None:
    """Delete what writers that were killed left half written in `folder`; what is still being written stays."""
    if fcntl is None:
        return
    for path in folder.glob(".tonewheel-*.part"):
        with contextlib.suppress(OSError):  # somebody writes it, it is gone, it is a folder, it is not ours
            number = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(number)


def _unguessable(folder: Path, ending: str = "part") -> Path:
    # Short and independent of the target's name, which may already be as long as is allowed.
    return folder / f".tonewheel-{secrets.token_hex(8)}.{ending}"


@contextlib.contextmanager
def _translated(path: Path | str, *, all_errors: bool) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        if e.errno in _NO_ROOM:
            raise DiskFull(
                f"no room left to write {_shown(path)} ({os.strerror(e.errno or 0)}): free some space "
                f"or choose another place; nothing was written",
                param="output",
            ) from e
        if all_errors or e.errno == errno.EIO:
            raise _refusal(e, path) from e
        raise


def _refusal(e: OSError, path: Path | str) -> TonewheelError:
    why = _REFUSED.get(e.errno or 0)
    if why is None:
        return TonewheelError(f"cannot write {_shown(path)}: {e.strerror or e}", param="output")
    return OutputRefused(f"cannot write {_shown(path)}: {why}: choose another place or name", param="output")


def _resolved(path: Path) -> Path:
    # A link is written through, so that the file it names is replaced and not the link.
    return Path(os.path.realpath(path))


def _mode_of(path: Path) -> int | None:
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        return None


def _exists(path: Path | str) -> str:
    return f"{_shown(path)} exists already: choose another name, or give --force to replace it"


def _shown(path: Path | str) -> str:
    text = str(path).encode("utf-8", "backslashreplace").decode()
    return repr(text if len(text) <= 200 else f"{text[:100]}...{text[-80:]}")


def _refused_nul(path: Path | str) -> OutputRefused:
    return OutputRefused(f"cannot write {_shown(path)}: the name holds a NUL: choose another", param="output")


def _sync(path: Path) -> None:
    # The name, too, must survive a power cut; some systems cannot open or flush a folder.
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
