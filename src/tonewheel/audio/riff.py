"""Tags of WAV files: an `id3 ` chunk with everything, and a `LIST INFO` chunk for readers that know only that."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from tonewheel.audio import id3
from tonewheel.errors import InvalidRequest, UnreadableAudio

_INFO = {
    "title": b"INAM",
    "artist": b"IART",
    "album": b"IPRD",
    "genre": b"IGNR",
    "date": b"ICRD",
    "comment": b"ICMT",
    "license": b"ICOP",
}
_MAX_RIFF = 2**32 - 1 - 8
_UNTIL_THE_END = 0xFFFFFFFF


def read(data: bytes) -> dict[str, str]:
    """Fields by lower-case name: those of the ID3 tag, then what only the INFO list has."""
    info: dict[str, str] = {}
    tagged: dict[str, str] = {}
    for name, body in _chunks(data):
        if name in (b"id3 ", b"ID3 "):
            tagged = id3.read(body)
        elif name == b"LIST" and body[:4] == b"INFO":
            info = _read_info(body)
    return info | tagged


def head(rate: int, channels: int, pairs: Mapping[str, str]) -> bytes:
    """The beginning of a 16-bit WAV of unknown length, tags included: samples follow until the end of the stream."""
    shape = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2, channels * 2, 16)
    before = b"".join(_chunk(name, body) for name, body in ((b"fmt ", shape), *_tagged(pairs)))
    unknown = struct.pack("<I", _UNTIL_THE_END)
    return b"RIFF" + unknown + b"WAVE" + before + b"data" + unknown


def write(data: bytes, pairs: Mapping[str, str]) -> bytes:
    """`data` with its tags replaced by `pairs`."""
    kept = [
        (name, body)
        for name, body in _chunks(data)
        if name not in (b"id3 ", b"ID3 ") and not (name == b"LIST" and body[:4] == b"INFO")
    ]
    kept += _tagged(pairs)
    body = b"".join([b"WAVE", *(_chunk(name, content) for name, content in kept)])
    if len(body) > _MAX_RIFF:
        raise InvalidRequest("the WAV file would be over 4 GB, which WAV cannot hold: use FLAC", param="format")
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _tagged(pairs: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """The chunks that hold tags."""
    info = b"".join(_chunk(code, pairs[field].encode() + b"\0") for field, code in _INFO.items() if pairs.get(field))
    return [*([(b"LIST", b"INFO" + info)] if info else []), *([(b"id3 ", id3.tag(pairs))] if pairs else [])]


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + (b"\0" if len(body) % 2 else b"")


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at + 8 <= len(data):
        name = data[at : at + 4]
        (size,) = struct.unpack_from("<I", data, at + 4)
        end = at + 8 + size
        if end > len(data):
            if name != b"data" and size != _UNTIL_THE_END:
                raise UnreadableAudio("the WAV file ends inside a chunk: it is truncated")
            end = len(data)  # streams written without a length, and cut recordings
        yield name, data[at + 8 : end]
        at = end + (end - at) % 2


def _read_info(body: bytes) -> dict[str, str]:
    names = {code: field for field, code in _INFO.items()}
    found = {}
    at = 4
    while at + 8 <= len(body):
        code = body[at : at + 4]
        (size,) = struct.unpack_from("<I", body, at + 4)
        if code in names:
            found[names[code]] = body[at + 8 : at + 8 + size].split(b"\0")[0].decode("utf-8", "replace")
        at += 8 + size + size % 2
    return found
