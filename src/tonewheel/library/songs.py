"""The library: songs in, songs out, songs found, songs gone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, BinaryIO

import sqlalchemy as sa

from tonewheel.errors import InvalidRequest, NotFound, TonewheelError
from tonewheel.library.database import Database
from tonewheel.library.ids import is_id, new_id
from tonewheel.library.storage import Storage, measured
from tonewheel.library.tables import artifacts, create, holds, metadata, songs
from tonewheel.library.types import Artifact, Kept, NewSong, Song, SongPage
from tonewheel.library.words import patterns, searchable

MOST_A_PAGE = 200
_ORPHAN_S = 3 * 86400.0  # what was stored so long ago for a song that never came belongs to nobody


class Library:
    """Songs and their files. Thread-safe; many processes may share one database and storage."""

    def __init__(self, database: Database, storage: Storage) -> None:
        self.database = database
        self.storage = storage

    def create_tables(self) -> None:
        """Create what is missing in the database; once a process, before anything else."""
        create(self.database, metadata)

    # ── in ──

    def add(self, new: NewSong) -> Song:
        """Keep a song: all of it, or nothing. Raises DiskFull, Unavailable."""
        song_id = new.id or new_id("song")
        try:
            kept = self.hold(song_id, [f.source for f in new.files])
            self.database.write(lambda c: self.record(c, song_id, new, kept, holder=song_id))
        except Exception:
            with contextlib.suppress(TonewheelError):  # the first error is the one to tell
                self.release(song_id)
            raise
        return self.get(song_id)

    def hold(self, holder: str, sources: Sequence[Path | bytes]) -> list[Kept]:
        """First half of `add`: put files on the disk for a song that `holder` (its id, or its job's) will record.
        Nobody takes them away until then."""
        kept = [Kept(*measured(source)) for source in sources]

        def work(c: sa.Connection) -> None:
            for digest in sorted({k.sha256 for k in kept}):
                self._lock(c, digest)
                row = self.database.insert(holds).values(sha256=digest, holder=holder, held_at=self.database.now)
                c.execute(row.on_conflict_do_nothing())

        self.database.write(work)
        for k, source in zip(kept, sources, strict=True):
            self.storage.put(k.sha256, source)
        return kept

    def record(self, c: sa.Connection, song_id: str, new: NewSong, kept: Sequence[Kept], *, holder: str) -> None:
        """Second half of `add`: write the rows, in the caller's transaction. `kept` are the contents of `new.files`,
        in their order. Harmless when done twice."""
        if c.scalar(sa.select(songs.c.id).where(songs.c.id == song_id)) is not None:
            return
        now = self.database.now
        row = {f.name: getattr(new, f.name) for f in fields(new) if f.name not in ("id", "files", "expires_in_s")}
        row |= {"title": _plain(new.title), "artist": _plain(new.artist), "words": _words_of(new)}
        expires = None if new.expires_in_s is None else now + new.expires_in_s
        c.execute(sa.insert(songs).values(**row, id=song_id, created_at=now, expires_at=expires))
        for file, k in zip(new.files, kept, strict=True):
            c.execute(
                sa.insert(artifacts).values(
                    id=new_id("art"), song_id=song_id, kind=file.kind, name=_plain(file.name),
                    media_type=file.media_type, size_bytes=k.size_bytes, sha256=k.sha256, created_at=now,
                )
            )  # fmt: skip
        c.execute(sa.delete(holds).where(holds.c.holder == holder))

    def _lock(self, c: sa.Connection, digest: str) -> None:
        self.database.lock(c, f"tonewheel content {digest}")

    # ── out ──

    def get(self, song_id: str) -> Song:
        """A song with its files. Raises NotFound."""
        found = self.database.read(lambda c: self._load(c, sa.select(songs).where(songs.c.id == song_id)))
        if not found:
            raise NotFound(f"there is no song {song_id[:40]!r}", param="id")
        return found[0]

    def of_job(self, job_id: str) -> Song | None:
        """The song a job made; None while there is none."""
        found = self.database.read(lambda c: self._load(c, sa.select(songs).where(songs.c.job_id == job_id)))
        return found[0] if found else None

    def artifact(self, artifact_id: str) -> Artifact:
        """What is known of a file. Raises NotFound, for an id that is none as well."""
        row = None
        if is_id("art", artifact_id):
            query = sa.select(artifacts).where(artifacts.c.id == artifact_id)
            row = self.database.read(lambda c: c.execute(query).mappings().first())
        if row is None:
            raise NotFound(f"there is no artifact {artifact_id[:40]!r}", param="id")
        return _artifact(row)

    @contextlib.contextmanager
    def open(self, artifact_id: str) -> Iterator[tuple[Artifact, BinaryIO]]:
        """A file and what is known of it; seekable, for ranges. Raises NotFound."""
        artifact = self.artifact(artifact_id)
        with self.storage.open(artifact.sha256) as file:
            yield artifact, file

    def search(
        self,
        *,
        words: str = "",
        model: str | None = None,
        made_after: float | None = None,
        made_before: float | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> SongPage:
        """Songs that have all `words` (in title, artist, genre, moods, narrative, prompt or lyrics; a word
        finds words that begin with it), newest first. Times are seconds since 1970; `after` is `next` of
        the page before."""
        if not 1 <= limit <= MOST_A_PAGE:
            raise InvalidRequest(f"limit is {limit}: it may be 1 to {MOST_A_PAGE}", param="limit")
        matches: list[sa.ColumnElement[bool]] = [songs.c.words.like(p) for p in patterns(words)]
        if model is not None:
            matches.append(songs.c.model == model)
        if made_after is not None:
            matches.append(songs.c.created_at >= made_after)
        if made_before is not None:
            matches.append(songs.c.created_at < made_before)
        page = [*matches, songs.c.seq < _cursor(after)] if after is not None else matches
        rows = sa.select(songs).where(*page).order_by(songs.c.seq.desc()).limit(limit + 1)

        def work(c: sa.Connection) -> SongPage:
            total = c.scalar(sa.select(sa.func.count()).select_from(songs).where(*matches)) or 0
            numbers = list(c.scalars(rows.with_only_columns(songs.c.seq)))
            found = self._load(c, rows)[:limit]
            more = str(numbers[limit - 1]) if len(numbers) > limit else None
            return SongPage(songs=tuple(found), next=more, total=total)

        return self.database.read(work)

    def _load(self, c: sa.Connection, query: sa.Select[Any]) -> list[Song]:
        rows = c.execute(query).mappings().all()
        ids = [r["id"] for r in rows]
        files: dict[str, list[Artifact]] = {i: [] for i in ids}
        for row in c.execute(
            sa.select(artifacts).where(artifacts.c.song_id.in_(ids)).order_by(artifacts.c.seq)
        ).mappings():
            files[row["song_id"]].append(_artifact(row))
        return [
            Song(**{k: v for k, v in r.items() if k not in ("seq", "words")}, artifacts=tuple(files[r["id"]]))
            for r in rows
        ]

    # ── gone ──

    def delete(self, song_id: str) -> None:
        """Remove a song and the files no other song has. Raises NotFound."""
        if not self._remove_rows([song_id]):
            raise NotFound(f"there is no song {song_id[:40]!r}", param="id")

    def expire(self) -> list[str]:
        """Delete the songs whose time is over; their ids."""
        due = sa.select(songs.c.id).where(songs.c.expires_at <= self.database.now).limit(1000)
        ids = self.database.read(lambda c: list(c.scalars(due)))
        return self._remove_rows(ids)

    def keep(self, song_id: str, *, expires_in_s: float | None = None) -> Song:
        """Let a song expire after so many seconds from now; None = never. Raises NotFound."""
        at = None if expires_in_s is None else self.database.now + expires_in_s
        self.database.write(lambda c: c.execute(sa.update(songs).where(songs.c.id == song_id).values(expires_at=at)))
        return self.get(song_id)

    def sweep(self) -> int:
        """Remove stored contents that no song has, because whoever wrote or deleted them was killed; how many."""
        self.storage.sweep()
        limit = self.database.now - _ORPHAN_S
        self.database.write(lambda c: c.execute(sa.delete(holds).where(holds.c.held_at < limit)))
        return sum(self._drop(digest) for digest in self.storage.old_contents(_ORPHAN_S))

    def release(self, holder: str) -> None:
        """Let go of what was held for a song that will not be."""
        query = sa.delete(holds).where(holds.c.holder == holder).returning(holds.c.sha256)
        for digest in self.database.write(lambda c: list(c.scalars(query))):
            self._drop(digest)

    def _remove_rows(self, ids: Sequence[str]) -> list[str]:
        if not ids:
            return []

        def work(c: sa.Connection) -> tuple[list[str], set[str]]:
            digests = set(c.scalars(sa.select(artifacts.c.sha256).where(artifacts.c.song_id.in_(ids))))
            c.execute(sa.delete(artifacts).where(artifacts.c.song_id.in_(ids)))
            gone = list(c.scalars(sa.delete(songs).where(songs.c.id.in_(ids)).returning(songs.c.id)))
            return gone, digests

        gone, digests = self.database.write(work)
        for digest in sorted(digests):
            self._drop(digest)
        return gone

    def _drop(self, digest: str) -> bool:
        """Take a content away unless a song has it or will have it. Killed halfway, `sweep` does the rest."""

        def work(c: sa.Connection) -> bool:
            self._lock(c, digest)
            used = c.scalar(sa.select(artifacts.c.id).where(artifacts.c.sha256 == digest).limit(1))
            held = c.scalar(sa.select(holds.c.holder).where(holds.c.sha256 == digest).limit(1))
            if used is None and held is None:
                self.storage.remove(digest)
                return True
            return False

        return self.database.write(work)


def _plain(text: str) -> str:
    # PostgreSQL holds no NUL, no database holds half a surrogate pair.
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _artifact(row: Any) -> Artifact:
    return Artifact(**{k: v for k, v in row.items() if k != "seq"})


def _cursor(after: str) -> int:
    if not after.isdecimal() or len(after) > 18:
        raise InvalidRequest("after is not one we gave: pass the `next` of the page before", param="after")
    return int(after)


def _words_of(song: NewSong) -> str:
    plan = song.plan or {}
    texts: list[str | None] = [song.title, song.artist, song.prompt, song.lyrics, plan.get("genre")]
    texts += [plan.get("narrative"), *plan.get("moods", ())]
    for section in plan.get("sections", ()):
        texts += section.get("lyrics", ())
    return searchable(texts)
