"""What was made: songs, their files and where they came from.

    library = Library(Database.open(url), FolderStorage(folder))
    song = library.add(NewSong(title=…, seed=…, model="composer", …, files=[NewArtifact("song", "mp3", path), …]))
    page = library.search(words="lighthouse sea", model="composer", limit=20)     newest first, page.next to go on
    with library.open(artifact_id) as (artifact, file): …                         a seekable file, for Range
    library.delete(song.id)

`database` is the one database of the server (SQLite in the data folder, or PostgreSQL), shared with
`tonewheel.jobs`; `storage` keeps the bytes, by their SHA-256; `songs` is the table of what there is.
Ids are random and say nothing; a client's path or name is never part of one. Files appear whole or
not at all (`tonewheel.files`), and a row is written only when its files are on the disk.

The few names others need are here, loaded when they are asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tonewheel.library.database import Database
    from tonewheel.library.songs import Library
    from tonewheel.library.storage import FolderStorage, Storage, open_storage
    from tonewheel.library.types import Artifact, NewArtifact, NewSong, Song, SongPage

__all__ = [
    "Artifact",
    "Database",
    "FolderStorage",
    "Library",
    "NewArtifact",
    "NewSong",
    "Song",
    "SongPage",
    "Storage",
    "open_storage",
]

_HOMES = {
    "Artifact": "types",
    "Database": "database",
    "FolderStorage": "storage",
    "Library": "songs",
    "NewArtifact": "types",
    "NewSong": "types",
    "Song": "types",
    "SongPage": "types",
    "Storage": "storage",
    "open_storage": "storage",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
