"""The one database of the server: SQLite in the data folder, or PostgreSQL, by URL.

Jobs, songs and DBOS share it, so that what belongs together is committed together. Transactions are
functions: they are run again when the database was away or locked, so they must come to the same
end when they are run twice (compare before you set; bring your own ids).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql as postgresql_dialect
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from tonewheel.errors import DiskFull, InvalidRequest, Unavailable
from tonewheel.library import sqlite

T = TypeVar("T")

_BUSY_S = 30.0  # how long SQLite waits for another writer
_POOL = 24
_SQLITE_FULL = 13
_PG_NO_ROOM = {"53100"}
_PG_AWAY = {"57P01", "57P02", "57P03", "53300", "25P03"}  # shutdown, crash, starting up, too many, idle timeout
_PG_AGAIN = {"40001", "40P01"}  # serialisation, deadlock
CHANNEL = "tonewheel"


class Database:
    """An engine, and transactions that outlast a restart of the database. Thread-safe."""

    def __init__(self, engine: sa.Engine, *, patience_s: float, room_patience_s: float) -> None:
        self.engine = engine
        self.patience_s = patience_s
        self.room_patience_s = room_patience_s
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._closed = threading.Event()

    @classmethod
    def open(cls, url: str, *, patience_s: float = 5.0, room_patience_s: float = 0.0) -> Database:
        """Connect lazily to `sqlite:///FILE` or `postgresql://…`.

        `patience_s` is how long a transaction waits for a database that is away or locked before it raises
        Unavailable, `room_patience_s` how long for room on its disk before it raises DiskFull: a gateway tells
        its user soon, a worker waits.
        """
        try:
            parsed = sa.make_url(url)
        except sa.exc.ArgumentError:
            raise InvalidRequest(
                "the database URL cannot be read: write sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME",
                param="database_url",
            ) from None
        kind = parsed.get_backend_name()
        if kind == "sqlite":
            return cls(_sqlite_engine(parsed), patience_s=patience_s, room_patience_s=room_patience_s)
        if kind == "postgresql":
            return cls(_postgres_engine(parsed), patience_s=patience_s, room_patience_s=room_patience_s)
        raise InvalidRequest(
            f"{kind!r} databases are not supported: write sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME",
            param="database_url",
        )

    @property
    def shown_url(self) -> str:
        """The URL without its password."""
        return self.engine.url.render_as_string(hide_password=True)

    @property
    def file(self) -> Path | None:
        """The SQLite file; None for PostgreSQL."""
        return Path(str(self.engine.url.database)) if self.is_sqlite else None

    @property
    def now(self) -> sa.ColumnElement[float]:
        """Seconds since 1970 by the database's clock: the one clock all hosts share."""
        if self.is_sqlite:
            return sa.literal_column("(julianday('now') - 2440587.5) * 86400.0", sa.Float)
        return sa.literal_column("extract(epoch from clock_timestamp())::float8", sa.Float)

    def write(self, work: Callable[[sa.Connection], T], *, patience_s: float | None = None) -> T:
        """Run `work` in a transaction that holds the write lock from its start (SQLite) and commit.

        Raises DiskFull and Unavailable when that does not pass within the patience.
        """

        def once() -> T:
            with self.engine.begin() as c:
                if self.is_sqlite:
                    # The driver opens a transaction at the first change only; what is read before must hold, too.
                    c.exec_driver_sql("BEGIN IMMEDIATE")
                return work(c)

        return self._patiently(once, patience_s)

    def read(self, work: Callable[[sa.Connection], T], *, patience_s: float | None = None) -> T:
        """Run `work` on a consistent view (one transaction), changing nothing."""

        def once() -> T:
            with self.engine.connect() as c:
                if self.is_sqlite:
                    c.exec_driver_sql("BEGIN")
                return work(c)

        return self._patiently(once, patience_s)

    def lock(self, c: sa.Connection, name: str) -> None:
        """Until the end of the transaction nobody else passes here by this name."""
        if not self.is_sqlite:  # an SQLite transaction is alone by itself
            c.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(name))))

    def announce(self, c: sa.Connection) -> None:
        """Wake whoever waits for changes, when this transaction commits (`tonewheel.library.changes`)."""
        if not self.is_sqlite:  # SQLite's waiters see every commit
            c.exec_driver_sql(f"NOTIFY {CHANNEL}")

    def insert(self, table: sa.Table) -> Any:
        """An INSERT that knows ON CONFLICT; both databases spell it alike."""
        return sqlite_dialect.insert(table) if self.is_sqlite else postgresql_dialect.insert(table)

    def close(self) -> None:
        """Close all connections; transactions that wait give up."""
        self._closed.set()
        self.engine.dispose()

    def _patiently(self, once: Callable[[], T], patience_s: float | None) -> T:
        began = time.monotonic()
        pause = 0.05
        while True:
            try:
                return once()
            except (DBAPIError, sa.exc.TimeoutError) as e:
                known = explained(e)
                if known is None:
                    raise
                own = self.room_patience_s if isinstance(known, DiskFull) else self.patience_s
                patience = own if patience_s is None else patience_s
                if time.monotonic() + pause > began + patience or self._closed.wait(pause):
                    raise known from e
                pause = min(2.0, pause * 2)


def explained(e: Exception) -> DiskFull | Unavailable | None:
    """What a database error means for the user, when waiting may help; None for a mistake of ours."""
    if isinstance(e, sa.exc.TimeoutError):
        return Unavailable("the database has no free connection: try again")
    if not isinstance(e, DBAPIError):
        return None
    cause: Any = e.orig
    text = str(cause)
    state = getattr(cause, "sqlstate", None)
    if getattr(cause, "sqlite_errorcode", 0) & 0xFF == _SQLITE_FULL or state in _PG_NO_ROOM or "disk is full" in text:
        return DiskFull("no room left where the database is: free some space; nothing was lost")
    locked = "database is locked" in text or "database table is locked" in text
    lost = e.connection_invalidated or type(cause).__name__ in ("OperationalError", "InterfaceError", "AdminShutdown")
    if isinstance(cause, _sqlite_errors()):
        return Unavailable("the database is locked: try again") if locked else None
    if state in _PG_AWAY or state in _PG_AGAIN or (state is None and lost) or (state or "").startswith("08"):
        return Unavailable("the database does not answer: is it running?")
    return None


def _sqlite_errors() -> tuple[type[BaseException], ...]:
    return (sqlite.driver().Error,)


def _sqlite_engine(url: sa.URL) -> sa.Engine:
    if url.database in (None, "", ":memory:"):
        raise InvalidRequest(
            "an SQLite database in memory cannot be shared or kept: write sqlite:///FILE", param="database_url"
        )
    engine = sa.create_engine(
        url.set(drivername="sqlite"), module=sqlite.driver(), poolclass=QueuePool, pool_size=_POOL, max_overflow=0,
    )  # fmt: skip

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = "IMMEDIATE"  # as DBOS's own engine does
        connection.execute(f"PRAGMA busy_timeout={int(_BUSY_S * 1000)}")
        connection.execute("PRAGMA foreign_keys=ON")
        # Readers never wait for the writer. FULL: a job that was accepted survives a power cut, too.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    return engine


def _postgres_engine(url: sa.URL) -> sa.Engine:
    return sa.create_engine(
        url.set(drivername="postgresql+psycopg"), pool_size=_POOL, max_overflow=0, pool_pre_ping=True,
        connect_args={
            "application_name": "tonewheel", "connect_timeout": 5,
            # A host that vanishes without a word is noticed within half a minute.
            "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3,
            "options": "-c idle_in_transaction_session_timeout=60000",
        },
    )  # fmt: skip
