"""The tables of the library, and how tables come to be."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from tonewheel.library.database import Database

metadata = sa.MetaData()
# SQLite counts only INTEGER keys by itself, PostgreSQL's INTEGER ends at 2^31.
Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


class Json(sa.types.TypeDecorator[Any]):
    """Plain JSON types as ASCII text: any character comes back, in every database."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: object) -> str | None:
        return None if value is None else json.dumps(value, separators=(",", ":"), allow_nan=False)

    def process_result_value(self, value: Any, dialect: object) -> Any:
        return None if value is None else json.loads(value)


songs = sa.Table(
    "tonewheel_songs", metadata,
    sa.Column("seq", Serial, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("artist", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False, index=True),
    sa.Column("revision", sa.Text, nullable=False),
    sa.Column("licence", sa.Text, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("duration_s", sa.Float, nullable=False),
    sa.Column("format", sa.Text, nullable=False),
    sa.Column("prompt", Json),
    sa.Column("lyrics", Json),
    sa.Column("plan", Json),
    sa.Column("request", Json, nullable=False),
    sa.Column("timings", Json, nullable=False),
    sa.Column("checks", Json, nullable=False),
    sa.Column("analysis", Json, nullable=False),
    sa.Column("details", Json, nullable=False),
    sa.Column("job_id", sa.Text, unique=True),
    sa.Column("created_at", sa.Float, nullable=False, index=True),
    sa.Column("expires_at", sa.Float, index=True),
    sa.Column("words", sa.Text, nullable=False),  # what a search looks in, folded
    sqlite_autoincrement=True,
)  # fmt: skip

artifacts = sa.Table(
    "tonewheel_artifacts", metadata,
    sa.Column("seq", Serial, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("song_id", sa.ForeignKey("tonewheel_songs.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("media_type", sa.Text, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False, index=True),
    sa.Column("created_at", sa.Float, nullable=False),
    sqlite_autoincrement=True,
)  # fmt: skip

# What a model heard of a song: float32, little-endian.
embeddings = sa.Table(
    "tonewheel_embeddings", metadata,
    sa.Column("seq", Serial, primary_key=True, autoincrement=True),
    sa.Column("song_id", sa.ForeignKey("tonewheel_songs.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("model", sa.Text, nullable=False, index=True),
    sa.Column("vector", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("song_id", "model"),
    sqlite_autoincrement=True,
)  # fmt: skip

# Contents somebody has stored or is about to, for a song whose rows are not written yet. Committed before
# the file is written and removed with the transaction that writes the song, so that a content is never taken
# away from under a song in the making because another song with the same content is deleted.
holds = sa.Table(
    "tonewheel_holds", metadata,
    sa.Column("sha256", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, primary_key=True),
    sa.Column("held_at", sa.Float, nullable=False),
)  # fmt: skip


def create(database: Database, tables: sa.MetaData) -> None:
    """Create what is missing; several processes may do so at once."""

    def work(c: sa.Connection) -> None:
        database.lock(c, "tonewheel tables")
        tables.create_all(c)

    database.write(work)


def has_tables(database: Database) -> bool:
    """Whether anybody has created them."""
    return database.read(lambda c: sa.inspect(c).has_table(songs.name))
