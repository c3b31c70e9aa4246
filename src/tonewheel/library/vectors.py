"""What songs sound like, as vectors: kept with the songs, found by nearness.

The database keeps them (a row a song and model), whichever database it is; usearch compares them, in the memory of
the process that searches. Every vector is looked at: a hundred thousand songs take some 0.2 s and 200 MB.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from tonewheel.errors import InvalidRequest
from tonewheel.library.database import Database
from tonewheel.library.tables import artifacts, embeddings, songs

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Near:
    """A song and how near it is: the cosine, 1 = the same direction."""

    song_id: str
    score: float


@dataclass(frozen=True, slots=True)
class _Shelf:
    """All vectors of one model as they were at a time. `mark` tells whether that is still so."""

    mark: tuple[int, int, int]
    song_ids: list[str]
    vectors: Vector  # [songs, d]


class Vectors:
    """The vectors of a library. Thread-safe; several processes may share one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._shelves: dict[str, _Shelf] = {}
        self._lock = threading.Lock()

    def put(self, song_id: str, model: str, vector: Sequence[float]) -> None:
        """Keep what `model` heard of a song, in place of what it heard before; nothing for one that is gone."""

        def work(c: sa.Connection) -> None:
            if c.scalar(sa.select(songs.c.id).where(songs.c.id == song_id)) is not None:
                record_vector(c, self._database, song_id, model, vector)

        self._database.write(work)

    def of(self, song_id: str, model: str) -> Vector | None:
        """What `model` heard of a song; None = nothing yet."""
        query = sa.select(embeddings.c.vector).where(embeddings.c.song_id == song_id, embeddings.c.model == model)
        found = self._database.read(lambda c: c.scalar(query))
        return None if found is None else np.frombuffer(found, "<f4")

    def unheard(self, model: str, below: int | None = None) -> tuple[int, str] | None:
        """The newest song with audio that `model` has not heard: its place and id; `below` = only among those before
        that place."""
        heard = sa.select(embeddings.c.song_id).where(embeddings.c.song_id == songs.c.id, embeddings.c.model == model)
        audio = sa.select(artifacts.c.song_id).where(artifacts.c.song_id == songs.c.id, artifacts.c.kind == "song")
        query = sa.select(songs.c.seq, songs.c.id).where(~heard.exists(), audio.exists())
        if below is not None:
            query = query.where(songs.c.seq < below)
        found = self._database.read(lambda c: c.execute(query.order_by(songs.c.seq.desc()).limit(1)).first())
        return None if found is None else (int(found[0]), str(found[1]))

    def models(self) -> list[str]:
        """Models that heard anything, the one that heard most first."""
        count = sa.func.count().label("count")
        query = sa.select(embeddings.c.model, count).group_by(embeddings.c.model).order_by(count.desc())
        return self._database.read(lambda c: [row[0] for row in c.execute(query)])

    def nearest(
        self, vector: Sequence[float] | Vector, model: str, limit: int, *, but: str | None = None
    ) -> list[Near]:
        """The songs nearest `vector` by what `model` heard of them, the nearest first, without the song `but`."""
        usearch: Any = import_module("usearch.index")  # here: a worker never searches
        shelf = self._shelf(model)
        asked = np.asarray(vector, np.float32)
        count = min(limit + (but is not None), len(shelf.song_ids))
        if count < 1:
            return []
        if shelf.vectors.shape[1:] != asked.shape:
            raise InvalidRequest(f"{model} made vectors of {shelf.vectors.shape[1]} numbers, this has {asked.size}")
        found = usearch.search(shelf.vectors, asked, count, usearch.MetricKind.Cos, exact=True)
        near = [
            Near(shelf.song_ids[int(key)], float(np.clip(1 - distance, -1, 1)))
            for key, distance in zip(found.keys, found.distances, strict=True)
        ]
        return [n for n in near if n.song_id != but][:limit]

    def _shelf(self, model: str) -> _Shelf:
        of_model = embeddings.c.model == model
        seq = embeddings.c.seq
        # The sum, too: numbers are given before transactions commit, so that a lower one may appear after a higher.
        sums = (sa.func.coalesce(f(seq), 0) for f in (sa.func.max, sa.func.sum))
        marks = sa.select(sa.func.count(), *sums).where(of_model)
        rows = sa.select(embeddings.c.song_id, embeddings.c.vector).where(of_model).order_by(embeddings.c.seq)

        def work(c: sa.Connection) -> _Shelf:
            count, latest, total = c.execute(marks).one()
            mark = int(count), int(latest), int(total)
            known = self._shelves.get(model)
            if known is not None and known.mark == mark:
                return known
            found = [(str(song_id), np.frombuffer(data, "<f4")) for song_id, data in c.execute(rows)]
            vectors = np.stack([v for _, v in found]) if found else np.zeros((0, 0), np.float32)
            return _Shelf(mark, [song_id for song_id, _ in found], vectors)

        with self._lock:  # two searches at once read them once
            self._shelves[model] = self._database.read(work)
            return self._shelves[model]


def record_vector(
    c: sa.Connection, database: Database, song_id: str, model: str, vector: Sequence[float] | Vector
) -> None:
    """Write it in the caller's transaction. A row is written anew, so that its number tells of the change."""
    data = np.asarray(vector, "<f4").tobytes()
    here = embeddings.c.song_id == song_id, embeddings.c.model == model
    c.execute(sa.delete(embeddings).where(*here))
    c.execute(database.insert(embeddings).values(song_id=song_id, model=model, vector=data))
