"""What is written into a file about the song: one type for every container.

`embed` puts tags into the bytes of an encoded file, `read_tags` gets them back. The containers are
written here and not by a library: the good one is GPL, and four small formats are enough.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Protocol

from tonewheel.audio import flac, id3, ogg, riff
from tonewheel.audio.mp3 import parse_header
from tonewheel.audio.read import load_bytes
from tonewheel.errors import InvalidRequest, UnreadableAudio

# A hostile file may say anything; what a song needs is lyrics and a plan of some 100 kB.
MAX_TAG_BYTES = 4 * 1024 * 1024
_EXTRA_KEY = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Tags:
    """Tags of a file; None = absent, "" = there but empty.

    `bpm` is kept to a thousandth. `extra` holds further fields by lower-case keys (`tonewheel_plan`,
    `tonewheel_seed`). NUL, which no container can hold, and lone surrogates are taken out of every
    text. Raises InvalidRequest.
    """

    title: str | None = None
    artist: str | None = None
    album: str | None = None
    genre: str | None = None
    date: str | None = None
    lyrics: str | None = None
    comment: str | None = None
    bpm: float | None = None
    key: str | None = None
    license: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.bpm is not None:
            if not 0 <= self.bpm < 10_000:
                raise InvalidRequest(f"bpm {self.bpm} cannot be written: it must lie between 0 and 9999", param="tags")
            object.__setattr__(self, "bpm", round(self.bpm, 3))
        for name in TEXT_FIELDS:
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, clean(value))
        for key in self.extra:
            if not _EXTRA_KEY.fullmatch(key) or key in RESERVED:
                raise InvalidRequest(
                    f"tag name {key[:40]!r} cannot be used: write lower-case letters, digits, '_', '.' or '-', "
                    f"and none of {', '.join(sorted(RESERVED))}",
                    param="tags",
                )
        object.__setattr__(self, "extra", {k: clean(v) for k, v in sorted(self.extra.items())})
        size = sum(len(v.encode()) for v in as_pairs(self).values())
        if size > MAX_TAG_BYTES:
            raise InvalidRequest(
                f"the tags are {size} bytes long: at most {MAX_TAG_BYTES} can be written; shorten lyrics or comment",
                param="tags",
            )


TEXT_FIELDS = tuple(f.name for f in fields(Tags) if f.name not in ("bpm", "extra"))
RESERVED = {*TEXT_FIELDS, "bpm"}


def clean(text: str) -> str:
    """`text` as every container can hold it."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def as_pairs(tags: Tags) -> dict[str, str]:
    """All fields that are there, as text, in a fixed order."""
    pairs = {name: value for name in TEXT_FIELDS if (value := getattr(tags, name)) is not None}
    if tags.bpm is not None:
        pairs["bpm"] = format(tags.bpm, ".3f").rstrip("0").rstrip(".")
    return pairs | dict(tags.extra)


def from_pairs(pairs: Mapping[str, str]) -> Tags:
    """Tags from what a file holds: foreign keys are made to fit, what cannot fit is left out."""
    known: dict[str, str] = {}
    extra: dict[str, str] = {}
    for raw, value in pairs.items():
        key = raw.lower()
        if not _EXTRA_KEY.fullmatch(key):
            key = re.sub(r"[^a-z0-9_.-]+", "_", key).strip("_.-")[:64]
        if key in RESERVED:
            known.setdefault(key, value)
        elif _EXTRA_KEY.fullmatch(key):
            extra.setdefault(key, value)
    bpm = _number(known.pop("bpm", None))
    return Tags(bpm=bpm, extra=extra, **known)


def _number(text: str | None) -> float | None:
    """The tempo a file states, with a comma or a unit if need be; None for what is no tempo."""
    match = re.fullmatch(r"\s*(\d{1,4}(?:[.,]\d{1,30})?)\s*(?:bpm)?\s*", text or "", re.IGNORECASE)
    return float(match.group(1).replace(",", ".")) if match else None


def embed(data: bytes, tags: Tags) -> bytes:
    """The encoded file `data` (WAV, FLAC, MP3, Ogg Vorbis or Opus) with `tags` in place of any it had.

    Ogg streams also get a serial number made from their content, so that equal input gives equal bytes.
    """
    container = _container(data)
    if container is None:
        raise UnreadableAudio("tags can be written into WAV, FLAC, MP3, Ogg Vorbis and Opus files only")
    return container.write(data, as_pairs(tags))


def read_tags(source: Path | str | bytes) -> Tags:
    """The tags of a file or of its bytes; empty when it has none or is of another kind.

    Raises UnreadableAudio when the file cannot be opened or its structure contradicts itself.
    """
    data = source if isinstance(source, bytes) else load_bytes(Path(source))
    container = _container(data)
    return Tags() if container is None else from_pairs(container.read(data))


class _Container(Protocol):
    """What flac, id3, ogg and riff have in common: fields by canonical name, as text."""

    def read(self, data: bytes) -> dict[str, str]: ...

    def write(self, data: bytes, pairs: Mapping[str, str]) -> bytes: ...


def _container(data: bytes) -> _Container | None:
    if data[:4] == b"fLaC":
        return flac
    if data[:4] == b"OggS":
        return ogg
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return riff
    if data[:3] == b"ID3" or parse_header(data, 0) is not None:
        return id3
    return None
