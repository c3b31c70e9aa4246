"""Which SQLite this process uses.

DBOS needs 3.42 (`unixepoch('subsec')` is NULL before it, and launching fails on a NOT NULL column);
Debian 12 has 3.40 and Ubuntu 22.04 has 3.37. The `pysqlite3` wheel carries a newer one.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

from tonewheel.errors import NotSupported

LEAST = (3, 42, 0)


@lru_cache(maxsize=1)
def driver() -> Any:
    """The DB-API module of an SQLite that is new enough.

    When it is not Python's own, it also takes the name `sqlite3`, for libraries that import that (DBOS).
    Raises NotSupported where there is none.
    """
    found: list[str] = []
    for name in ("sqlite3", "pysqlite3"):
        try:
            package = import_module(name)
            dbapi = import_module(f"{name}.dbapi2")
        except ImportError:
            continue
        if dbapi.sqlite_version_info >= LEAST:
            if name != "sqlite3":
                _take_the_name(package, dbapi)
            return dbapi
        found.append(f"{name} {dbapi.sqlite_version}")
    raise NotSupported(
        f"SQLite {'.'.join(map(str, LEAST))} or newer is needed and there is only {', '.join(found) or 'none'}: "
        f"run `pip install pysqlite3`, or use PostgreSQL by setting TONEWHEEL_DATABASE_URL=postgresql://…"
    )


def _take_the_name(package: ModuleType, dbapi: ModuleType) -> None:
    sys.modules["sqlite3"] = package
    sys.modules["sqlite3.dbapi2"] = dbapi
