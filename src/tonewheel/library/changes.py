"""Waiting until the database changes, without asking it all the time."""

from __future__ import annotations

import contextlib
import time
from typing import Any, Protocol

from tonewheel.library import sqlite
from tonewheel.library.database import CHANNEL, Database

_LOOK_EVERY_S = 0.05  # one look costs some 10 µs
_RECONNECT_S = 1.0


class Changes(Protocol):
    """One waiter; for one thread."""

    def wait(self, timeout_s: float) -> bool:
        """Return True when something was committed since the last call (perhaps before it), False after the time."""
        ...

    def close(self) -> None: ...


def changes(database: Database) -> Changes:
    """A waiter of its own connection."""
    return _SqliteChanges(database) if database.is_sqlite else _PostgresChanges(database)


class _SqliteChanges:
    """SQLite numbers its versions: `data_version` differs when any other connection has committed."""

    def __init__(self, database: Database) -> None:
        self._file = str(database.file)
        self._connection: Any = None
        self._seen: int | None = None

    def wait(self, timeout_s: float) -> bool:
        until = time.monotonic() + timeout_s
        while True:
            version = self._version()
            if version != self._seen:
                self._seen = version
                return True
            left = until - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(_LOOK_EVERY_S, left))

    def _version(self) -> int | None:
        try:
            if self._connection is None:
                self._connection = sqlite.driver().connect(self._file, timeout=1.0, check_same_thread=False)
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        except sqlite.driver().Error:  # locked for a moment, or the file is new: look again
            return self._seen

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _PostgresChanges:
    """PostgreSQL tells: transactions that matter end with NOTIFY (`Database.announce`)."""

    def __init__(self, database: Database) -> None:
        url = database.engine.url
        self._conninfo = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._connection: Any = None

    def wait(self, timeout_s: float) -> bool:
        import psycopg  # noqa: PLC0415  (only where PostgreSQL is used)

        try:
            if self._connection is None:
                self._connection = psycopg.connect(self._conninfo, autocommit=True, connect_timeout=5)
                self._connection.execute(f"LISTEN {CHANNEL}")
                return True  # what was told before is lost: look
            return any(True for _ in self._connection.notifies(timeout=timeout_s, stop_after=1))
        except psycopg.Error:
            self.close()
            time.sleep(min(_RECONNECT_S, timeout_s))
            return True

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(Exception):
                self._connection.close()
            self._connection = None
