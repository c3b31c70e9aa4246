"""Jobs and library of this installation, opened the way the settings say."""

from __future__ import annotations

import shutil
from pathlib import Path

from tonewheel.errors import InvalidRequest, NotFound
from tonewheel.jobs.store import JobStore
from tonewheel.library.database import Database
from tonewheel.library.songs import Library
from tonewheel.library.storage import Storage, open_storage
from tonewheel.library.tables import has_tables
from tonewheel.settings import Settings, made_folder

DATABASE_FILE = "tonewheel.sqlite"
_SQLITE_MAGIC = b"SQLite format 3\0"


def database_url(data_dir: Path, url: str | None) -> str:
    """The URL of the database: the one given, or the SQLite file in the data folder."""
    return url if url is not None else f"sqlite:///{data_dir / DATABASE_FILE}"


def check_file(file: Path) -> None:
    """Raises InvalidRequest for a file that is there and is no SQLite database, or may not be read."""
    try:
        with file.open("rb") as f:
            begin = f.read(len(_SQLITE_MAGIC))
    except FileNotFoundError:
        return
    except OSError as e:
        raise InvalidRequest(
            f"the database {file} cannot be read: {e.strerror or e}; name another one with --data-dir or --database",
            param="database_url",
        ) from None
    if begin and begin != _SQLITE_MAGIC:
        raise InvalidRequest(
            f"{file} is not an SQLite database: name another one with --data-dir or --database", param="database_url"
        )


def open_jobs(settings: Settings, *, patience_s: float = 5.0, create: bool = True) -> tuple[JobStore, Library]:
    """The job store and the library, on one database; close it with `store.database.close()`.

    With `create` folders and tables are made where they are missing; without, NotFound says that there are none.
    """
    url = database_url(settings.data_dir, settings.database_url)
    database = Database.open(url, patience_s=patience_s)
    if database.file is not None:
        check_file(database.file)
        if not create and not database.file.exists():
            raise NotFound(
                f"there is no database at {database.file}: nothing was ordered there yet; "
                "name another place with --data-dir or --database"
            )
        if create:
            made_folder(database.file.parent)
    storage = open_storage(settings.storage_url, settings.data_dir)
    store = JobStore(
        database,
        queue_limit=settings.queue_limit,
        least_deadline_s=settings.deadline_s,
        dead_after_s=settings.worker_dead_after_s,
        has_room=lambda: has_room(storage, settings.data_dir, round(settings.min_free_mb * 10**6)),
    )
    if create:
        store.create_tables()
    elif not has_tables(database):
        raise NotFound(
            f"nothing was ordered yet in the database {database.shown_url}: start a worker or a server on it"
        )
    return store, Library(database, storage)


def has_room(storage: Storage, data_dir: Path, least: int) -> bool:
    """Whether both the storage and the data folder have so many bytes free."""
    there = storage.free_bytes()
    here = shutil.disk_usage(data_dir).free if data_dir.exists() else least
    return min(here, least if there is None else there) >= least
