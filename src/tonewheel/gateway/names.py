"""Names that clients chose for their songs (`PUT /v1/songs/{name}`), and the orders behind them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tonewheel.errors import InvalidRequest
from tonewheel.library.database import Database
from tonewheel.library.ids import is_id
from tonewheel.library.tables import create

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

_metadata = sa.MetaData()
_names = sa.Table(
    "tonewheel_song_names", _metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("generation", sa.Integer, nullable=False),  # counts deletions: the name is free again after each
    sa.Column("job_id", sa.Text),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Named:
    """What a name means now."""

    name: str
    generation: int = 0
    job_id: str | None = None

    @property
    def order_key(self) -> str:
        """The idempotency key of its order; no header can hold it, for its spaces."""
        return f"name {self.name} {self.generation}"


def checked_name(name: str) -> str:
    """Raises InvalidRequest for what cannot be a name."""
    if is_id("song", name) or is_id("job", name):
        raise InvalidRequest(
            "ids of that form are given by the server: choose another one, such as my-song-1", param="id"
        )
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            "an id of yours begins with a letter or digit and has at most 128 letters, digits, dots, hyphens and "
            "underscores", param="id",
        )  # fmt: skip
    return name


class Names:
    """The names of a server. Blocking; thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create_tables(self) -> None:
        create(self._database, _metadata)

    def get(self, name: str) -> Named:
        """What the name means; one without a job when it is free."""
        if not _NAME.fullmatch(name):
            return Named(name)
        query = sa.select(_names).where(_names.c.name == name)
        row = self._database.read(lambda c: c.execute(query).mappings().first())
        return Named(**row) if row is not None else Named(name)

    def set(self, named: Named, job_id: str) -> bool:
        """Let the name mean that job; False when it was freed meanwhile."""
        return self._write(named, {"generation": named.generation, "job_id": job_id})

    def free(self, named: Named) -> None:
        """The name means nothing any more and may be used anew; nothing when that is so already."""
        self._write(named, {"generation": named.generation + 1, "job_id": None})

    def _write(self, named: Named, values: dict[str, Any]) -> bool:
        """Change what is still as `named` tells."""
        insert: Any = _insert(self._database)(_names)
        query = (
            insert.values(name=named.name, **values)
            .on_conflict_do_update(
                index_elements=["name"], set_=values, where=_names.c.generation == named.generation
            )
            .returning(_names.c.name)
        )  # fmt: skip
        return self._database.write(lambda c: c.scalar(query)) is not None


def _insert(database: Database) -> Any:
    from sqlalchemy.dialects import postgresql, sqlite  # noqa: PLC0415  (only what is used)

    return sqlite.insert if database.is_sqlite else postgresql.insert
