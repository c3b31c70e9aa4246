"""ID3: written as version 2.4, read from 2.2, 2.3, 2.4 and 1 (id3.org).

Fields without a frame of their own go into TXXX frames. So do values their frame cannot hold
exactly: TBPM is a whole number, TKEY at most three characters.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Mapping

from tonewheel.errors import UnreadableAudio

_TEXT = {
    "title": "TIT2",
    "artist": "TPE1",
    "album": "TALB",
    "genre": "TCON",
    "date": "TDRC",
    "bpm": "TBPM",
    "key": "TKEY",
}
_FIELD_OF = {frame: field for field, frame in _TEXT.items()} | {"TYER": "date", "TCOP": "license"}
# Version 2.2 had names of three letters.
_OLD = {
    "TT2": "TIT2", "TP1": "TPE1", "TAL": "TALB", "TCO": "TCON", "TYE": "TYER", "TBP": "TBPM", "TKE": "TKEY",
    "TCR": "TCOP", "TXX": "TXXX", "ULT": "USLT", "COM": "COMM",
}  # fmt: skip
_UTF8 = 3
_ENCODINGS = ("latin-1", "utf-16", "utf-16-be", "utf-8")
_UNKNOWN_LANGUAGE = b"XXX"
_MAX_INFLATED = 8 * 1024 * 1024


def tag(pairs: Mapping[str, str]) -> bytes:
    """An ID3v2.4 tag with `pairs`."""
    body = b"".join(_frame(name, content) for name, content in _frames_of(pairs))
    return b"ID3\x04\x00\x00" + _syncsafe(len(body)) + body


def write(data: bytes, pairs: Mapping[str, str]) -> bytes:
    """The MP3 stream `data` with a tag of `pairs` before it, in place of those it had."""
    stream = data[end_of_tag(data) :]
    if stream[-128:-125] == b"TAG":
        stream = stream[:-128]
    return (tag(pairs) if pairs else b"") + stream


def read(data: bytes) -> dict[str, str]:
    """Fields by lower-case name."""
    if data[:3] == b"ID3":
        return _read_v2(data)
    if data[-128:-125] == b"TAG":
        return _read_v1(data[-128:])
    return {}


def _frames_of(pairs: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    for field, value in pairs.items():
        shown = _as_frame_text(field, value)
        if field == "lyrics":
            yield "USLT", bytes([_UTF8]) + _UNKNOWN_LANGUAGE + b"\0" + value.encode()
        elif field == "comment":
            yield "COMM", bytes([_UTF8]) + _UNKNOWN_LANGUAGE + b"\0" + value.encode()
        elif shown is not None:
            yield _TEXT[field], bytes([_UTF8]) + shown.encode()
        if shown != value and field not in ("lyrics", "comment"):
            yield "TXXX", bytes([_UTF8]) + field.encode() + b"\0" + value.encode()


def _as_frame_text(field: str, value: str) -> str | None:
    """What the field's own text frame can say of `value`; None when it has none, or nothing to say."""
    if field == "bpm":
        return str(round(float(value)))
    if field == "key":
        match = re.fullmatch(r"([A-G][#b]?) (major|minor)", value)
        short = match.group(1) + ("m" if match.group(2) == "minor" else "") if match else value
        return short if len(short) <= 3 else None
    return value if field in _TEXT else None


def _frame(name: str, content: bytes) -> bytes:
    return name.encode() + _syncsafe(len(content)) + b"\0\0" + content


def _syncsafe(size: int) -> bytes:
    """28 bits in four bytes whose highest bit is 0, so that a tag never looks like an MPEG frame."""
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))


def _from_syncsafe(four: bytes) -> int:
    return sum((byte & 0x7F) << shift for byte, shift in zip(four, (21, 14, 7, 0), strict=True))


def end_of_tag(data: bytes) -> int:
    """Where the stream begins after an ID3v2 tag; 0 without one."""
    if data[:3] != b"ID3" or len(data) < 10:
        return 0
    return 10 + _from_syncsafe(data[6:10]) + (10 if data[5] & 0x10 else 0)


def _read_v2(data: bytes) -> dict[str, str]:
    if len(data) < 10 or data[3] not in (2, 3, 4):
        return {}
    version, flags = data[3], data[5]
    end = 10 + _from_syncsafe(data[6:10])
    if end > len(data):
        raise UnreadableAudio("the file ends inside its ID3 tag: it is truncated")
    body = data[10:end]
    if flags & 0x80 and version < 4:
        body = _resynchronised(body)
    if flags & 0x40 and version > 2 and len(body) >= 4:
        # The extended header's size counts itself in 2.4, and not in 2.3.
        body = body[_from_syncsafe(body[:4]) if version == 4 else 4 + int.from_bytes(body[:4], "big") :]
    found: dict[str, str] = {}
    exact: dict[str, str] = {}
    for name, content in _split(body, version):
        _take(name, content, found, exact)
    return found | exact


def _take(name: str, content: bytes, found: dict[str, str], exact: dict[str, str]) -> None:
    if not content:
        return
    encoding = content[0]
    if name in ("USLT", "COMM"):
        described, text = _cut(content[4:], encoding)
        # iTunes keeps technical notes in described comments; ours has no description.
        if name == "USLT" or not _decoded(described, encoding):
            found.setdefault("lyrics" if name == "USLT" else "comment", _decoded(text, encoding))
    elif name == "TXXX":
        described, text = _cut(content[1:], encoding)
        exact.setdefault(_decoded(described, encoding).lower(), _decoded(text, encoding))
    elif name in _FIELD_OF:
        # Several values are parted by NUL in 2.4.
        text_value = _decoded(content[1:], encoding).rstrip("\0").replace("\0", "; ")
        found.setdefault(_FIELD_OF[name], text_value)


def _split(body: bytes, version: int) -> Iterator[tuple[str, bytes]]:
    head = 6 if version == 2 else 10
    at = 0
    while at + head <= len(body) and body[at] != 0:
        name = body[at : at + (3 if version == 2 else 4)].decode("latin-1")
        flags = 0
        if version == 2:
            size = int.from_bytes(body[at + 3 : at + 6], "big")
        else:
            four = body[at + 4 : at + 8]
            size = _from_syncsafe(four) if version == 4 else int.from_bytes(four, "big")
            flags = body[at + 9]
        content = body[at + head : at + head + size]
        at += head + size
        plain = _plain(content, flags, version)
        if plain is not None:
            yield _OLD.get(name, name), plain


def _plain(content: bytes, flags: int, version: int) -> bytes | None:
    """A frame's content without compression and unsynchronisation; None when it is encrypted or broken."""
    if version == 3:
        compressed, encrypted, grouped, unsync, sized = flags & 0x80, flags & 0x40, flags & 0x20, 0, 0
    else:
        compressed, encrypted, grouped = flags & 0x08, flags & 0x04, flags & 0x40
        unsync, sized = flags & 0x02, flags & 0x01
    if encrypted:
        return None
    content = content[(1 if grouped else 0) + (4 if sized or (version == 3 and compressed) else 0) :]
    if unsync:
        content = _resynchronised(content)
    if compressed:
        try:
            return zlib.decompressobj().decompress(content, _MAX_INFLATED)
        except zlib.error:
            return None
    return content


def _resynchronised(content: bytes) -> bytes:
    return content.replace(b"\xff\x00", b"\xff")


def _cut(content: bytes, encoding: int) -> tuple[bytes, bytes]:
    """The text before and after the terminator, which is two aligned zeros in UTF-16."""
    if encoding not in (1, 2):
        described, _, text = content.partition(b"\0")
        return described, text
    for at in range(0, len(content) - 1, 2):
        if content[at : at + 2] == b"\0\0":
            return content[:at], content[at + 2 :]
    return content, b""


def _decoded(content: bytes, encoding: int) -> str:
    name = _ENCODINGS[encoding] if encoding < len(_ENCODINGS) else "latin-1"
    return content.decode(name, "replace").rstrip("\0")


def _read_v1(tail: bytes) -> dict[str, str]:
    _, title, artist, album, year, comment, _ = struct.unpack("<3s30s30s30s4s30sB", tail)
    fields = {"title": title, "artist": artist, "album": album, "date": year, "comment": comment}
    texts = {name: raw.split(b"\0")[0].decode("latin-1").rstrip() for name, raw in fields.items()}
    return {name: text for name, text in texts.items() if text}
