"""Weights onto this machine: from a folder or a hub, resumed where the last pull stopped, every file checked.

    plan_pull(card)                  → its files, and whether each is here, shared or to be fetched
    pull(card, progress=tell)        → the folder with its files
    remove(card)                     → bytes freed

A file arrives as `NAME.part` and gets its name when its size and SHA-256 are those of the card. A pull that was
cut off goes on at the byte where it stopped. Sources (`sources.py`): a folder (`/…`, `file:///…`), `hf:OWNER/NAME`
(the hub's `/OWNER/NAME/resolve/REVISION/FILE`, from `TONEWHEEL_HUB_URL`), `s3://BUCKET/FOLDER`, `gs://BUCKET/FOLDER`.

A card that knows no hashes names patterns: the source then says which files it has and what their hashes are. Parts of
a card come from sources of their own into folders of their own (`CardPart`); a source given for all of a model has them
in folders of the same names. A folder of the user's own (`TONEWHEEL_<MODEL>_PATH`) is used as it is: nothing is pulled
into it, nothing in it is deleted. A file that another model has already is linked, not fetched (`shared_files.py`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from tonewheel.errors import (
    Conflict,
    DiskFull,
    InvalidRequest,
    ModelBroken,
    NotPulled,
    PullFailed,
    WrongHash,
)
from tonewheel.fleet.consent import require_consent
from tonewheel.fleet.memory import readable
from tonewheel.fleet.shared_files import (
    MANIFEST,
    Twin,
    bytes_in,
    bytes_shared,
    find_twins,
    note,
    sha256_of,
    stamp,
    take,
)
from tonewheel.fleet.sources import Source, Within, open_source
from tonewheel.models.base import Card, CardFile
from tonewheel.settings import may_unpickle, models_dir, own_weights, settings, weights_dir

Tell = Callable[[str, int, int], None]
"""`progress(file, bytes of it here, bytes of it in all)`."""

TellShared = Callable[[CardFile, str], None]
"""`shared(file, model)`: the file is a link to the one that this other model has; nothing was fetched."""

BUILT_IN = "built-in"
_WEIGHTS = (".safetensors", ".ckpt", ".bin", ".th")
_PICKLES = ("pytorch_model*.bin", "pytorch_model.bin.index.json")
_RETRIES = 3  # connections in a row that broke without bringing anything


def folder_of(card: Card) -> Path | None:
    """Where its files lie, or would; None for a built-in model."""
    return None if card.source == BUILT_IN else weights_dir(card.id, card.revision)


def is_pulled(card: Card) -> bool:
    """Whether every file is there as it was when its hash was checked (size and time of change are looked at)."""
    folder = folder_of(card)
    if folder is None:
        return True
    if own_weights(card.id) is not None:
        return folder.is_dir()
    try:
        noted = json.loads((folder / MANIFEST).read_text("utf-8"))
        if any(noted.get(f.path) != [f.sha256, *stamp(folder / f.path)] for f in card.known):
            return False
        if any(entry[1:] != stamp(folder / path) for path, entry in noted.items()):
            return False
        heads = {path.rpartition("/")[0].partition("/")[0] for path in noted}
        return bool(noted) and all(part.folder in heads for part in card.parts)
    except (OSError, ValueError, AttributeError):
        return False


def require_pulled(card: Card) -> None:
    """Raises NotPulled, saying what to run."""
    if is_pulled(card):
        return
    own = own_weights(card.id)
    if own is not None:
        raise NotPulled(f"the folder set for {card.id}, {own}, is not there: correct its path", param="model")
    size = f" ({readable(card.size_bytes)})" if card.size_bytes else ""
    raise NotPulled(f"the weights of {card.id}{size} are not here: run `tonewheel pull {card.id}`", param="model")


def here_bytes(card: Card) -> int:
    """Bytes of it on this disk, unfinished files included."""
    folder = folder_of(card)
    return 0 if folder is None else bytes_in(folder)


def pull(
    card: Card, *, source: str | None = None, progress: Tell | None = None, shared: TellShared | None = None
) -> Path:
    """Fetch what is missing. `source` overrides the card's (a folder on a stick, a bucket); hashes stay the card's.

    Raises ConsentRequired, DiskFull, PullFailed (run it again: it goes on where it stopped), WrongHash,
    NotSupported, MissingExtra, Conflict when another pull of it is under way, InvalidRequest for a source that is none.
    """
    folder = folder_of(card)
    if folder is None:
        raise InvalidRequest(f"{card.id} is built in: there is nothing to pull", param="model")
    require_consent(card)
    if own_weights(card.id) is not None:
        require_pulled(card)
        return folder
    shares = list(_shares(card, source))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder, card), contextlib.ExitStack() as opened:
            wanted = _wanted(card, shares, opened)
            files = [file for _, file in wanted]
            twins = find_twins(models_dir(), folder, files)
            _check_room(card, [f for f in files if f.path not in twins or (folder / f.path).exists()], folder)
            for origin, file in wanted:
                target = _inside(folder, file)
                if _is_here(file, target) or _taken(twins.get(file.path), file, target, shared):
                    (progress or _unheard)(file.path, file.size_bytes, file.size_bytes)
                else:
                    _fetch(origin, file, target, progress or _unheard)
            note(folder, files)
    except OSError as error:
        raise _no_room(error, folder) from error
    return folder


@dataclass(frozen=True, slots=True)
class Planned:
    """A file that `pull` would see to. `shared_with`: the model that has it already."""

    file: CardFile
    here: bool
    shared_with: str | None = None

    @property
    def to_fetch(self) -> bool:
        return not self.here and self.shared_with is None


def plan_pull(card: Card, *, source: str | None = None) -> list[Planned]:
    """What `pull` would do, by the lists of the sources: no weights are read, nothing is written. A file of the right
    size counts as here: its hash is for `pull` to check. Raises as `pull`, but asks for no consent and no room."""
    folder = folder_of(card)
    if folder is None:
        raise InvalidRequest(f"{card.id} is built in: there is nothing to pull", param="model")
    if own_weights(card.id) is not None:
        require_pulled(card)
        return []
    with contextlib.ExitStack() as opened:
        files = [file for _, file in _wanted(card, list(_shares(card, source)), opened)]
    twins = find_twins(models_dir(), folder, files)
    plan = []
    for file in files:
        target = _inside(folder, file)
        here = target.is_file() and target.stat().st_size == file.size_bytes
        plan.append(Planned(file, here, twins[file.path].model if not here and file.path in twins else None))
    return plan


@dataclass(frozen=True, slots=True)
class _Share:
    """What comes from one source, by its place in the model's folder."""

    origin: Source
    known: tuple[CardFile, ...]
    patterns: tuple[str, ...]


def _shares(card: Card, source: str | None) -> Iterator[_Share]:
    """The card's own files, then those of its parts; from `source`, which has them in folders, or each from its own."""
    given = open_source(source, card.revision) if source else None
    yield _Share(given or open_source(card.source, card.revision), card.files, card.patterns)
    for part in card.parts:
        patterns = tuple(f"{part.folder}/{pattern}" for pattern in part.patterns)
        yield _Share(given or Within(part.folder, open_source(part.source, part.revision)), part.known, patterns)


def _wanted(card: Card, shares: Sequence[_Share], opened: contextlib.ExitStack) -> list[tuple[Source, CardFile]]:
    """Every file with where it comes from; the sources stay open as long as `opened`."""
    for share in shares:
        opened.enter_context(share.origin)
    return [(share.origin, file) for share in shares for file in share.known or _listed(share, card)]


def _listed(share: _Share, card: Card) -> Sequence[CardFile]:
    """The files that patterns name; pickles only where the user allows them. Raises PullFailed."""
    needs_weights = any(pattern.endswith(_WEIGHTS) for pattern in share.patterns)
    pickles = _PICKLES if needs_weights and may_unpickle(card.id) and not card.parts else ()
    files = share.origin.files((*share.patterns, *pickles))
    if needs_weights and not any(file.path.endswith(_WEIGHTS) for file in files):
        lacking = f"the source has no weights of {card.id} ({', '.join(share.patterns)})"
        if card.parts:
            raise PullFailed(lacking)
        raise PullFailed(
            f"{lacking}. If it has them as pickles (pytorch_model.bin) and you trust it, set "
            f"TONEWHEEL_PICKLED_MODELS={card.id} and pull again"
        )
    return files


def remove(card: Card) -> int:
    """Delete its files, unfinished ones too; returns the bytes freed: those that another model shares stay, for it.
    Raises InvalidRequest, NotPulled."""
    folder = folder_of(card)
    if folder is None:
        raise InvalidRequest(f"{card.id} is built in: there is nothing to remove", param="model")
    if own_weights(card.id) is not None:
        raise InvalidRequest(f"{card.id} is used from your own folder {folder}, which is left as it is", param="model")
    if not folder.is_dir():
        raise NotPulled(f"there are no files of {card.id} here", param="model")
    with _alone(folder, card):
        freed = here_bytes(card) - bytes_shared(folder)
        shutil.rmtree(folder)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()  # other revisions keep it
    return freed


# ── one file ────────────────────────────────────────────────────────────────────────────────────


def _is_here(file: CardFile, target: Path) -> bool:
    return target.is_file() and target.stat().st_size == file.size_bytes and sha256_of(target) == file.sha256


def _taken(twin: Twin | None, file: CardFile, target: Path, shared: TellShared | None) -> bool:
    """Was the file put into its place from another model's?"""
    target.parent.mkdir(parents=True, exist_ok=True)
    if twin is None or not take(twin, file, target):
        return False
    target.with_name(target.name + ".part").unlink(missing_ok=True)  # of a pull that was cut off
    if shared is not None:
        shared(file, twin.model)
    return True


def _fetch(origin: Source, file: CardFile, target: Path, tell: Tell) -> None:
    part = target.with_name(target.name + ".part")
    if part.exists() and part.stat().st_size > file.size_bytes:
        part.unlink()
    with part.open("a+b") as output:
        output.seek(0)
        digest = hashlib.file_digest(output, "sha256")  # of what a pull that was cut off left
        _fill(origin, file, output, digest, tell)
        output.flush()
        os.fsync(output.fileno())
    found = digest.hexdigest()
    if found != file.sha256:
        part.unlink()
        raise WrongHash(
            f"{file.path} is not the file its card names: its SHA-256 is {found[:12]}…, not {file.sha256[:12]}…: "
            "it was deleted; the source has changed or was tampered with"
        )
    part.replace(target)


def _fill(origin: Source, file: CardFile, output: BinaryIO, digest: Any, tell: Tell) -> None:
    """Append what is missing; a connection that breaks after bringing something is taken up again."""
    fruitless = 0
    while (begin := output.seek(0, os.SEEK_END)) < file.size_bytes:
        at = begin
        try:
            for chunk in origin.read(file.path, at):
                if at + len(chunk) > file.size_bytes:
                    raise WrongHash(f"{file.path} is longer at its source than its card says")
                output.write(chunk)
                digest.update(chunk)
                at += len(chunk)
                tell(file.path, at, file.size_bytes)
            broken = PullFailed(f"{file.path} ended after {at:,} of {file.size_bytes:,} bytes: pull again to go on")
        except PullFailed as error:
            if not error.retryable:
                raise
            broken = error
        output.flush()
        fruitless = 0 if at > begin else fruitless + 1
        if fruitless >= _RETRIES:
            raise broken


def _inside(folder: Path, file: CardFile) -> Path:
    """The file's place in the folder. Raises ModelBroken for a path that leads out of it."""
    path = PurePosixPath(file.path)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in file.path or "\0" in file.path:
        raise ModelBroken(f"a card names the file {file.path[:80]!r}, which is no place inside a folder")
    return folder / path


@contextlib.contextmanager
def _alone(folder: Path, card: Card) -> Iterator[None]:
    """Two pulls into one folder would spoil each other's files. Raises Conflict."""
    lock = folder.parent / f".{folder.name}.lock"
    while True:
        with lock.open("wb") as file:
            try:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict(f"{card.id} is being pulled or removed by another process: wait for it") from None
            if not _is_still(lock, file):  # who had it has ended, and deleted it, since we opened it
                continue
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return


def _is_still(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _check_room(card: Card, files: Sequence[CardFile], folder: Path) -> None:
    size = sum(f.size_bytes for f in files)
    missing = size - min(size, here_bytes(card))
    free = shutil.disk_usage(folder).free - settings().min_free_mb * 1e6
    if missing > free:
        raise DiskFull(
            f"{card.id} needs {readable(missing)} more in {folder.parent}, where {readable(max(0, int(free)))} may be "
            "used: free some room, or set TONEWHEEL_MODELS_DIR"
        )


def _no_room(error: OSError, folder: Path) -> DiskFull | PullFailed:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFull(f"no room left in {folder}: free some and pull again; what has arrived is kept")
    return PullFailed(f"cannot write into {folder}: {error.strerror or error}")


def _unheard(_file: str, _here: int, _all: int) -> None:
    pass
