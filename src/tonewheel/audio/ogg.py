"""Tags of Ogg Vorbis and Opus: the stream is paged anew around its comment packet (RFC 3533, RFC 7845).

libsndfile draws the stream's serial number from the clock; writing sets one made from the content,
so that the same song gives the same bytes.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tonewheel.audio import vorbis
from tonewheel.errors import UnreadableAudio

_HEAD = struct.Struct("<4sBBqIIIB")
_CONTINUED, _FIRST = 1, 2
_NO_POSITION = -1
_LACING = 255
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True)
class _Page:
    flags: int
    position: int
    serial: int
    lacing: bytes
    body: bytes

    def packed(self, serial: int, number: int) -> bytes:
        head = _HEAD.pack(b"OggS", 0, self.flags, self.position, serial, number, 0, len(self.lacing))
        page = head + self.lacing + self.body
        return page[:22] + struct.pack("<I", crc(page)) + page[26:]


def crc(page: bytes) -> int:
    """Ogg's CRC-32: the polynomial of zlib without its bit reversal and inversions.

    Reversing the bits of each byte going in and of the sum coming out lets zlib do the work.
    """
    reflected = zlib.crc32(page.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reflected:032b}"[::-1], 2)


def read(data: bytes) -> dict[str, str]:
    """Fields by lower-case name."""
    headers, _, _ = _headers(_pages(data))
    return vorbis.unpack(_comment_body(headers))[1]


def write(data: bytes, pairs: Mapping[str, str]) -> bytes:
    """`data` with a comment packet holding `pairs` and a serial number made from the content."""
    pages = _pages(data)
    headers, first, rest = _headers(pages)
    vendor = vorbis.unpack(_comment_body(headers))[0]
    if headers[0].startswith(b"OpusHead"):
        comment = b"OpusTags" + vorbis.pack(vendor, pairs)
    else:
        comment = b"\x03vorbis" + vorbis.pack(vendor, pairs) + b"\x01"
    audio = list(rest)
    digest = hashlib.blake2b(digest_size=4)
    for packet in (headers[0], comment, *headers[2:]):
        digest.update(packet)
    for page in audio:
        digest.update(page.body)
    serial = int.from_bytes(digest.digest(), "little")
    paged = [first, *_paged([comment, *headers[2:]]), *audio]
    return b"".join(page.packed(serial, number) for number, page in enumerate(paged))


def _pages(data: bytes) -> Iterator[_Page]:
    at = 0
    serial: int | None = None
    while at < len(data):
        if at + _HEAD.size > len(data) or data[at : at + 4] != b"OggS":
            raise UnreadableAudio("the Ogg file is broken: a page does not begin where it should")
        _, _, flags, position, page_serial, _, _, segments = _HEAD.unpack_from(data, at)
        start = at + _HEAD.size + segments
        lacing = data[at + _HEAD.size : start]
        end = start + sum(lacing)
        if end > len(data):
            raise UnreadableAudio("the Ogg file ends inside a page: it is truncated")
        if serial is None:
            serial = page_serial
        if page_serial != serial or (at and flags & _FIRST):
            raise UnreadableAudio("the Ogg file holds several streams: only files with one are read")
        yield _Page(flags, position, page_serial, lacing, data[start:end])
        at = end


def _headers(pages: Iterator[_Page]) -> tuple[list[bytes], _Page, Iterator[_Page]]:
    """The header packets (Vorbis: 3, Opus: 2), the first page, and the pages with audio."""
    first = next(pages, None)
    if first is None:
        raise UnreadableAudio("the Ogg file is empty")
    wanted = 2 if first.body.startswith(b"OpusHead") else 3
    if not first.body.startswith((b"OpusHead", b"\x01vorbis")):
        raise UnreadableAudio("the Ogg file holds neither Vorbis nor Opus")
    packets = [first.body]
    part = bytearray()
    while len(packets) < wanted:
        page = next(pages, None)
        if page is None:
            raise UnreadableAudio("the Ogg file ends inside its header: it is truncated")
        at = 0
        for length in page.lacing:
            part += page.body[at : at + length]
            at += length
            if length < _LACING:
                packets.append(bytes(part))
                part.clear()
    if len(packets) != wanted or part:
        raise UnreadableAudio("the Ogg file is broken: audio begins inside a header page")
    return packets, first, pages


def _comment_body(headers: list[bytes]) -> bytes:
    magic = b"OpusTags" if headers[0].startswith(b"OpusHead") else b"\x03vorbis"
    if not headers[1].startswith(magic):
        raise UnreadableAudio("the Ogg file has no comment packet")
    return headers[1][len(magic) :]


def _paged(packets: list[bytes]) -> Iterator[_Page]:
    """Header packets on pages of their own; a long packet runs over several."""
    lacing = bytearray()
    for packet in packets:
        lacing += bytes([_LACING]) * (len(packet) // _LACING) + bytes([len(packet) % _LACING])
    body = b"".join(packets)
    at = 0
    continued = False
    for start in range(0, len(lacing), 255):
        values = bytes(lacing[start : start + 255])
        length = sum(values)
        # A page on which no packet ends has no position (RFC 3533, section 6).
        position = 0 if any(value < _LACING for value in values) else _NO_POSITION
        yield _Page(_CONTINUED if continued else 0, position, 0, values, body[at : at + length])
        continued = values[-1] == _LACING
        at += length
