"""The Vorbis comment block that FLAC, Ogg Vorbis and Opus share.

Layout: vendor and comments, each a little-endian 32-bit length and UTF-8 text; a comment is
`NAME=value` (xiph.org/vorbis/doc/v-comment.html).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from tonewheel.errors import UnreadableAudio

# Other programs' names for our fields.
_FOREIGN = {
    "description": "comment",
    "unsyncedlyrics": "lyrics",
    "initialkey": "key",
    "tempo": "bpm",
    "year": "date",
    "copyright": "license",
}


def pack(vendor: bytes, pairs: Mapping[str, str]) -> bytes:
    """A comment block without framing bit."""
    out = [struct.pack("<I", len(vendor)), vendor, struct.pack("<I", len(pairs))]
    for name, value in pairs.items():
        comment = f"{name.upper()}={value}".encode()
        out += [struct.pack("<I", len(comment)), comment]
    return b"".join(out)


def unpack(block: bytes) -> tuple[bytes, dict[str, str]]:
    """Vendor and fields by lower-case name; several values of one name are joined by "; "."""
    vendor, at = _text(block, 0)
    if at + 4 > len(block):
        raise _broken()
    (count,) = struct.unpack_from("<I", block, at)
    at += 4
    named: dict[str, list[str]] = {}
    for _ in range(min(count, 100_000)):
        comment, at = _text(block, at)
        name, equals, value = comment.decode("utf-8", "replace").partition("=")
        if equals:
            named.setdefault(name.lower(), []).append(value)
    found = {name: "; ".join(values) for name, values in named.items()}
    for foreign, ours in _FOREIGN.items():
        if foreign in found and ours not in found:
            found[ours] = found.pop(foreign)
    return vendor, found


def _text(block: bytes, at: int) -> tuple[bytes, int]:
    if at + 4 > len(block):
        raise _broken()
    (length,) = struct.unpack_from("<I", block, at)
    end = at + 4 + length
    if end > len(block):
        raise _broken()
    return block[at + 4 : end], end


def _broken() -> UnreadableAudio:
    return UnreadableAudio("the file's comment block is broken: it ends in the middle of a comment")
