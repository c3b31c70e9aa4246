"""Which container a file is, told by its first bytes alone, and whether it was cut off.

Only what people send is taken: what libsndfile and FFmpeg could read besides (module music, game
archives, playlists that name other files) is not even shown to them.
"""

from __future__ import annotations

import struct
from typing import Literal

from tonewheel.audio import id3
from tonewheel.audio.mp3 import parse_header
from tonewheel.errors import UnreadableAudio

Container = Literal["WAV", "AIFF", "FLAC", "Ogg", "MP3", "M4A", "AAC", "WebM"]
TAKEN = "WAV, FLAC, MP3, Ogg Vorbis, Opus, AIFF, M4A"
HEAD_BYTES = 12  # as many as `recognise` needs, but for MP3

CODECS = frozenset(
    {
        # libsndfile's names; its old telephone and ADPCM codecs are left out
        "PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW",
        "VORBIS", "OPUS", "MPEG_LAYER_III",
        # FFmpeg's
        "aac", "alac", "flac", "mp3", "mp3float", "opus", "libopus", "vorbis", "pcm_s16le", "pcm_s24le",
    }
)  # fmt: skip

_UNKNOWN_SIZES = (0, 0xFFFFFFFF)  # what writers into a pipe leave there
_LAST_PAGE = 4  # RFC 3533, section 6
_XING = (b"Xing", b"Info")


def recognise(data: bytes, name: str) -> Container:
    """Raises UnreadableAudio for what is none of ours; `data` may be the head of a file."""
    found = _by_head(data[:HEAD_BYTES])
    if found is None and _mp3_at(data) is not None:
        found = "MP3"
    if found is None:
        raise UnreadableAudio(f"{name} is not audio of a kind that is taken: send {TAKEN}")
    return found


def _by_head(head: bytes) -> Container | None:
    kind, form = head[:4], head[8:12]
    if (kind in (b"RIFF", b"RF64") and form == b"WAVE") or (kind == b"FORM" and form in (b"AIFF", b"AIFC")):
        return "AIFF" if kind == b"FORM" else "WAV"
    if kind == b"fLaC":
        return "FLAC"
    if kind == b"OggS":
        return "Ogg"
    if kind == b"\x1a\x45\xdf\xa3":
        return "WebM"
    if head[4:8] == b"ftyp":
        return "M4A"
    return "AAC" if head[:2] in (b"\xff\xf1", b"\xff\xf9") else None


def _mp3_at(data: bytes) -> int | None:
    """Where the first MP3 frame is: after an ID3 tag and zeros. Of a head that holds only the tag, its end."""
    at = id3.end_of_tag(data)
    if at >= len(data):
        return at if at else None
    at = len(data) - len(data[at : at + 4096].lstrip(b"\0")) if not data[at] else at
    first = parse_header(data, at)
    if first is None:
        return None
    second = at + first.size
    return at if second + 4 > len(data) or parse_header(data, second) is not None else None


# ── cut off ─────────────────────────────────────────────────────────────────────────────────────


def is_cut_off(container: Container, data: bytes, declared: int, decoded: int) -> bool:
    """Whether the file ends before it says it does. `declared` frames by its header, 0 = untold; `decoded` came out.

    A file that tells no length (written into a pipe, MP3 without an info frame) is whole as it is.
    """
    if container in ("WAV", "AIFF"):
        return _sound_chunk_lacks(data)
    if container == "Ogg":
        return not _has_last_page(data)
    if container == "MP3":
        return _frames_lack(data)
    if container == "FLAC":
        return decoded < declared
    # FFmpeg's lengths are estimates in some containers; a second is no cut.
    return _box_lacks(data) if container == "M4A" else False


def _sound_chunk_lacks(data: bytes) -> bool:
    order, wanted = (">", b"SSND") if data[:4] == b"FORM" else ("<", b"data")
    at, long_size = 12, 0
    while at + 8 <= len(data):
        name, (size,) = data[at : at + 4], struct.unpack_from(f"{order}I", data, at + 4)
        if name == b"ds64" and at + 24 <= len(data):  # RF64 keeps its sizes here (EBU Tech 3306)
            (long_size,) = struct.unpack_from("<Q", data, at + 16)
        if name == wanted:
            if size == 0xFFFFFFFF and long_size:
                size = long_size
            return size not in _UNKNOWN_SIZES and at + 8 + size > len(data)
        at += 8 + size + size % 2
    return True


def _has_last_page(data: bytes) -> bool:
    at, flags = 0, 0
    while at + 27 <= len(data) and data[at : at + 4] == b"OggS":
        flags = data[at + 5]
        lacing = data[at + 27 : at + 27 + data[at + 26]]
        at += 27 + data[at + 26] + sum(lacing)
    return bool(flags & _LAST_PAGE) and at <= len(data)


def _frames_lack(data: bytes) -> bool:
    """By the Xing block of the first frame: flags, then frames and bytes where the flags say so."""
    at = _mp3_at(data)
    first = parse_header(data, at) if at is not None else None
    if at is None or first is None:
        return True
    block = at + 4 + first.side_info
    if data[block : block + 4] not in _XING or block + 16 > len(data):
        return False
    (flags,) = struct.unpack_from(">I", data, block + 4)
    if not flags & 2:
        return False
    (size,) = struct.unpack_from(">I", data, block + (12 if flags & 1 else 8))
    return bool(at + size > len(data))


def _box_lacks(data: bytes) -> bool:
    at = 0
    while at + 8 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        if size == 1 and at + 16 <= len(data):
            (size,) = struct.unpack_from(">Q", data, at + 8)
        if size == 0:  # to the end of the file
            return False
        if size < 8:
            return True
        at += size
    return at != len(data)
