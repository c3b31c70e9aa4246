"""Tags of FLAC files: the VORBIS_COMMENT metadata block (RFC 9639, section 8.6)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tonewheel.audio import vorbis
from tonewheel.errors import InvalidRequest, UnreadableAudio

_COMMENT, _PADDING = 4, 1
_MAX_BLOCK = 2**24 - 1


def read(data: bytes) -> dict[str, str]:
    """Fields by lower-case name."""
    for kind, body, _ in _blocks(data):
        if kind == _COMMENT:
            return vorbis.unpack(body)[1]
    return {}


def write(data: bytes, pairs: Mapping[str, str]) -> bytes:
    """`data` with one comment block holding `pairs`."""
    kept: list[tuple[int, bytes]] = []
    vendor = b"tonewheel"
    audio = 4
    for kind, body, end in _blocks(data):
        audio = end
        if kind == _COMMENT:
            vendor = vorbis.unpack(body)[0]
        elif kind != _PADDING:
            kept.append((kind, body))
    comment = vorbis.pack(vendor, pairs)
    if len(comment) > _MAX_BLOCK:
        raise InvalidRequest(f"the tags are {len(comment)} bytes long: FLAC holds at most {_MAX_BLOCK}", param="tags")
    # STREAMINFO must stay first; comments go next to it so that players find them early.
    blocks = [*kept[:1], (_COMMENT, comment), *kept[1:]]
    out = [b"fLaC"]
    for index, (kind, body) in enumerate(blocks):
        last = 0x80 if index == len(blocks) - 1 else 0
        out += [bytes([kind | last]), len(body).to_bytes(3, "big"), body]
    return b"".join([*out, data[audio:]])


def _blocks(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Kind, body and end offset of each metadata block."""
    at = 4
    while True:
        if at + 4 > len(data):
            raise UnreadableAudio("the FLAC file ends inside its header: it is truncated")
        end = at + 4 + int.from_bytes(data[at + 1 : at + 4], "big")
        if end > len(data):
            raise UnreadableAudio("the FLAC file ends inside its header: it is truncated")
        yield data[at] & 0x7F, data[at + 4 : end], end
        if data[at] & 0x80:
            return
        at = end
