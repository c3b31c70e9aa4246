"""API keys: made once, shown once, kept as a hash.

A key is `tw_ID_SECRET` with 256 random bits in SECRET: so many that a plain SHA-256 keeps it (a slow hash is
for what people think up), and one look at the row of ID is enough to check it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import Any, Literal, get_args

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field

from tonewheel.errors import InvalidRequest, NotFound, UnknownName
from tonewheel.library.database import Database
from tonewheel.library.tables import Json, create

Scope = Literal["read", "generate", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
# Who may order a song may look at it; an admin may do everything.
_INCLUDES: dict[str, frozenset[str]] = {
    "read": frozenset({"read"}),
    "generate": frozenset({"read", "generate"}),
    "admin": frozenset(SCOPES),
}
_KEY = re.compile(r"tw_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")

_metadata = sa.MetaData()
_keys = sa.Table(
    "tonewheel_api_keys", _metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("scopes", Json, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("revoked_at", sa.Float),
)  # fmt: skip


class ApiKey(BaseModel):
    """What is kept of a key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(description="The second part of the key.")
    name: str = Field(description="Whose it is or what for.")
    scopes: tuple[Scope, ...]
    created_at: float
    revoked_at: float | None = None

    def may(self, scope: Scope) -> bool:
        return any(scope in _INCLUDES[s] for s in self.scopes)


class Keys:
    """The keys of a server. Blocking; thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create_tables(self) -> None:
        create(self._database, _metadata)

    def create(self, name: str, scopes: tuple[str, ...] = ("generate",)) -> tuple[ApiKey, str]:
        """A new key and its text, which is told here only. Raises InvalidRequest."""
        if not re.fullmatch(r"[^\x00-\x1f\x7f]{1,80}", name):
            raise InvalidRequest("the name of a key is one line of 1 to 80 characters", param="name")
        for scope in scopes:
            if scope not in SCOPES:
                raise UnknownName("scope", scope, SCOPES, param="scope")
        if not scopes:
            raise InvalidRequest(f"give the key a scope: {', '.join(SCOPES)}", param="scope")
        key_id, now = secrets.token_hex(6), self._database.now
        text = f"tw_{key_id}_{secrets.token_urlsafe(32)}"
        row = {"id": key_id, "name": name, "digest": _digest(text), "scopes": sorted(set(scopes), key=SCOPES.index)}
        self._database.write(lambda c: c.execute(sa.insert(_keys).values(**row, created_at=now)))
        return self.get(key_id), text

    def get(self, key_id: str) -> ApiKey:
        """Raises NotFound."""
        row = self._database.read(lambda c: c.execute(sa.select(_keys).where(_keys.c.id == key_id)).mappings().first())
        if row is None:
            raise NotFound(f"there is no key {key_id[:20]!r}: `tonewheel keys list` shows them", param="id")
        return _key(row)

    def list(self) -> list[ApiKey]:
        """All keys, revoked ones as well, oldest first."""
        query = sa.select(_keys).order_by(_keys.c.created_at, _keys.c.id)
        return self._database.read(lambda c: [_key(r) for r in c.execute(query).mappings()])

    def revoke(self, key_id: str) -> ApiKey:
        """From now on it is not a key. Raises NotFound."""
        query = sa.update(_keys).where(_keys.c.id == key_id, _keys.c.revoked_at.is_(None))
        self._database.write(lambda c: c.execute(query.values(revoked_at=self._database.now)))
        return self.get(key_id)

    def any(self) -> bool:
        """Whether a key was ever made: from then on every request needs one, even when all are revoked."""
        return self._database.read(lambda c: c.scalar(sa.select(_keys.c.id).limit(1))) is not None

    def any_valid(self) -> bool:
        query = sa.select(_keys.c.id).where(_keys.c.revoked_at.is_(None)).limit(1)
        return self._database.read(lambda c: c.scalar(query)) is not None

    def known(self, text: str) -> ApiKey | None:
        """The key of that text; None when it is none of ours or was revoked."""
        m = _KEY.fullmatch(text)
        if m is None:
            return None
        query = sa.select(_keys).where(_keys.c.id == m[1])
        row = self._database.read(lambda c: c.execute(query).mappings().first())
        # Compared in constant time, though a digest tells nothing of the key even when its start is guessed.
        if row is None or not hmac.compare_digest(row["digest"], _digest(text)) or row["revoked_at"] is not None:
            return None
        return _key(row)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _key(row: Any) -> ApiKey:
    return ApiKey(**{k: v for k, v in row.items() if k != "digest"})
