"""How the bytes of a file become blocks of samples: libsndfile, and PyAV for what that cannot read.

In blocks, since the length a header declares may be a lie: whoever reads decides after each block
whether it has had enough. `read` collects them; `incoming` judges them in a process of its own.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from tonewheel.audio import id3
from tonewheel.audio.mp3 import parse_header
from tonewheel.errors import MissingExtra, UnreadableAudio

Block = NDArray[np.float32]
Check = Callable[[int, int, int], None]
"""`check(rate, channels, frames)` raises when that is more than is taken; asked at the header and after each block."""

CONTAINERS = frozenset({"WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "AIFF", "CAF", "W64", "AU"})
_FRAMES = 1 << 16  # of a block: what is made of it stays in a processor's own cache
_UNRECOGNISED = 1  # libsndfile's SF_ERR_UNRECOGNISED_FORMAT
_UNTOLD = 1 << 60  # libsndfile's count of frames where a header tells none


@dataclass(frozen=True, slots=True)
class Stream:
    """Audio being decoded: `blocks` are float32 `[n, channels]`, full scale at ±1, never empty.

    `declared` is how many frames the header tells of, 0 = it does not tell; `format` is as a person would name it.
    """

    rate: int
    channels: int
    format: str
    declared: int
    blocks: Iterator[Block]


@contextmanager
def opened(data: bytes, name: str, check: Check, codecs: frozenset[str] | None = None) -> Iterator[Stream]:
    """The audio in `data`; `name` is used in messages. Read it inside the block.

    `codecs`, if given, are the only libsndfile subtypes (or PyAV codec names) taken. Raises UnreadableAudio,
    MissingExtra for M4A without PyAV, and what `check` raises.
    """
    if not data:
        raise UnreadableAudio(f"{name} is empty: it holds no audio")
    source = _by_pyav if is_foreign(data) else _by_libsndfile
    with source(data, name, check, codecs) as stream:
        yield stream


def is_foreign(data: bytes) -> bool:
    """Whether this is a container that only PyAV reads: MP4/M4A, Matroska/WebM, raw AAC."""
    return (
        data[4:8] == b"ftyp" or data[:4] == b"\x1a\x45\xdf\xa3" or (data[0] == 0xFF and data[1:2] in (b"\xf1", b"\xf9"))
    )


# ── libsndfile ──────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _by_libsndfile(data: bytes, name: str, check: Check, codecs: frozenset[str] | None) -> Iterator[Stream]:
    with _told(name, ()):
        file = soundfile.SoundFile(io.BytesIO(_without_id3(data)))
    with file:
        if file.format not in CONTAINERS:
            raise UnreadableAudio(f"{name} is {file.format_info}, which is not read: convert it to WAV or FLAC")
        if codecs is not None and file.subtype not in codecs:
            raise UnreadableAudio(f"{name} holds {file.subtype_info}, which is not taken: convert it to 16-bit PCM")
        frames = file.frames if file.frames < _UNTOLD else 0
        check(file.samplerate, file.channels, frames)
        title = {"VORBIS": "Ogg Vorbis", "OPUS": "Opus"}.get(file.subtype, file.format)
        bits = {"PCM_16": " 16-bit", "PCM_24": " 24-bit", "FLOAT": " 32-bit float"}.get(file.subtype, "")
        blocks = _counted(_blocks(file), (name, ()), file.samplerate, file.channels, check)
        yield Stream(file.samplerate, file.channels, title + bits, frames, blocks)


def _blocks(file: Any) -> Iterator[Block]:
    while len(block := file.read(_FRAMES, dtype="float32", always_2d=True)):
        yield block


def _without_id3(data: bytes) -> bytes:
    # libmpg123 parses the tag too, and complains about other people's tags on stderr.
    end = id3.end_of_tag(data)
    return data[end:] if end and parse_header(data, end) is not None else data


# ── PyAV ────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _by_pyav(data: bytes, name: str, check: Check, codecs: frozenset[str] | None) -> Iterator[Stream]:
    try:
        import av  # noqa: PLC0415  (an optional extra)
    except ImportError:
        raise MissingExtra(
            f"{name} is M4A, AAC or WebM, which needs PyAV: install it with `pip install 'tonewheel[m4a]'`, "
            f"or convert the file to WAV or FLAC"
        ) from None
    broken = (av.error.FFmpegError,)
    with _told(name, broken):
        # The list of demuxers keeps playlists from opening other files and addresses.
        container = av.open(io.BytesIO(data), options={"format_whitelist": "mov,aac,matroska"})
    with container:
        if not container.streams.audio:
            raise UnreadableAudio(f"{name} holds no audio stream")
        stream = container.streams.audio[0]
        codec = str(stream.codec_context.name)
        if codecs is not None and codec not in codecs:
            raise UnreadableAudio(f"{name} holds {codec[:40]}, which is not taken: convert it to WAV or FLAC")
        rate, channels = int(stream.rate or 0), int(stream.codec_context.channels or 0)
        if not rate or not channels:
            raise UnreadableAudio(f"{name} cannot be decoded as audio: it ends before its first sound")
        declared = int(stream.duration * stream.time_base * rate) if stream.duration and stream.time_base else 0
        check(rate, channels, max(0, declared))
        blocks = _counted(_frames(container, stream, rate), (name, broken), rate, channels, check)
        yield Stream(rate, channels, codec.upper(), max(0, declared), blocks)


def _frames(container: Any, stream: Any, rate: int) -> Iterator[Block]:
    import av  # noqa: PLC0415

    resampler = av.AudioResampler(format="fltp", layout=stream.codec_context.layout, rate=rate)
    for frame in chain(container.decode(stream), [None]):
        for piece in resampler.resample(frame):
            block = np.ascontiguousarray(piece.to_ndarray().T, dtype=np.float32)
            if len(block):
                yield block


# ── both ────────────────────────────────────────────────────────────────────────────────────────


_Broken = tuple[type[Exception], ...]


def _counted(
    blocks: Iterator[Block], told: tuple[str, _Broken], rate: int, channels: int, check: Check
) -> Iterator[Block]:
    total = 0
    while True:
        with _told(*told):
            block = next(blocks, None)
        if block is None:
            return
        total += len(block)
        check(rate, channels, total)
        yield block


@contextmanager
def _told(name: str, broken: _Broken) -> Iterator[None]:
    """What libraries raise over a broken file (`broken` are those of their own), as UnreadableAudio."""
    try:
        yield
    except MemoryError:
        raise UnreadableAudio(f"{name} takes more memory to decode than there is for it: cut it") from None
    except (*broken, soundfile.LibsndfileError, RuntimeError, ValueError, OSError, EOFError) as e:
        # The libraries' own words ("Unspecified internal error.") help nobody; TONEWHEEL_DEBUG=1 shows them.
        unknown = isinstance(e, soundfile.LibsndfileError) and e.code == _UNRECOGNISED
        why = (
            "it is of no kind that is read, or its beginning is missing; give WAV, FLAC, MP3, Ogg, Opus, AIFF or M4A"
            if unknown
            else "it is damaged or cut off, or its codec is not read; fetch or export it again"
        )
        raise UnreadableAudio(f"{name} cannot be decoded as audio: {why}") from e
