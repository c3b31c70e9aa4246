"""Files to samples. The container is told by its content, never by its name."""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from tonewheel.audio import id3
from tonewheel.audio.mp3 import parse_header
from tonewheel.errors import MissingExtra, UnreadableAudio

MAX_FILE_BYTES = 1024**3
MAX_SAMPLES = 8 * 48_000 * 3600  # channels x frames: an hour of eight channels, 5.5 GB
MAX_CHANNELS = 8
MIN_RATE, MAX_RATE = 1_000, 384_000
_BLOCK = 1 << 18
_CONTAINERS = {"WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "AIFF", "CAF", "W64", "AU"}


@dataclass(frozen=True, slots=True)
class Audio:
    """`samples [n, channels]` float32, full scale at ±1; `format` as a person would name it."""

    samples: NDArray[np.float32]
    rate: int
    format: str

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.rate

    @property
    def channels(self) -> int:
        return int(self.samples.shape[1])


def load_bytes(path: Path) -> bytes:
    """The bytes of a file that may be audio. Raises UnreadableAudio."""
    try:
        if path.is_dir():
            raise UnreadableAudio(f"{_shown(path)} is a folder: name an audio file")
        if not path.is_file() and path.exists():
            raise UnreadableAudio(f"{_shown(path)} is not a regular file: name an audio file")
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise UnreadableAudio(f"{_shown(path)} has {size} bytes: at most {MAX_FILE_BYTES} are read")
        return path.read_bytes()
    except FileNotFoundError:
        raise UnreadableAudio(f"{_shown(path)} does not exist: check the name") from None
    except (OSError, ValueError) as e:
        reason = e.strerror if isinstance(e, OSError) else "the name cannot be used"
        raise UnreadableAudio(f"{_shown(path)} cannot be read: {reason}") from None


def read(path: Path | str) -> Audio:
    """The audio of a file: WAV, FLAC, MP3, Ogg Vorbis, Opus, AIFF, CAF, AU; M4A, AAC and WebM with tonewheel[m4a].

    Raises UnreadableAudio for what is no audio, is broken, holds NaN or infinite samples, or exceeds
    the limits of this module, and MissingExtra for M4A without PyAV.
    """
    return decode(load_bytes(Path(path)), _shown(path))


def decode(data: bytes, name: str = "the file") -> Audio:
    """Like `read`, of bytes; `name` is used in messages."""
    if not data:
        raise UnreadableAudio(f"{name} is empty: it holds no audio")
    audio = _by_pyav(data, name) if _is_foreign(data) else _by_libsndfile(data, name)
    if len(audio.samples) == 0:
        raise UnreadableAudio(f"{name} holds no samples: it is empty or truncated")
    if not np.isfinite(audio.samples.max()) or not np.isfinite(audio.samples.min()):
        raise UnreadableAudio(f"{name} holds samples that are not numbers (NaN or infinite): export it again")
    return audio


def _by_libsndfile(data: bytes, name: str) -> Audio:
    try:
        with soundfile.SoundFile(io.BytesIO(_without_id3(data))) as file:
            if file.format not in _CONTAINERS:
                raise UnreadableAudio(f"{name} is {file.format_info}, which is not read: convert it to WAV or FLAC")
            _check_limits(name, file.samplerate, file.channels, file.frames)
            blocks = []
            total = 0
            # In blocks, since the length a header declares may be a lie.
            while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
                blocks.append(block)
                total += len(block)
                _check_limits(name, file.samplerate, file.channels, total)
            title = {"VORBIS": "Ogg Vorbis", "OPUS": "Opus"}.get(file.subtype, file.format)
            bits = {"PCM_16": " 16-bit", "PCM_24": " 24-bit", "FLOAT": " 32-bit float"}.get(file.subtype, "")
            samples = np.concatenate(blocks) if blocks else np.zeros((0, file.channels), np.float32)
            return Audio(samples, file.samplerate, title + bits)
    except (soundfile.LibsndfileError, RuntimeError, ValueError, OSError, MemoryError) as e:
        raise UnreadableAudio(f"{name} cannot be decoded as audio: {_reason(e)}") from None


def _without_id3(data: bytes) -> bytes:
    # libmpg123 parses the tag too, and complains about other people's tags on stderr.
    end = id3.end_of_tag(data)
    return data[end:] if end and parse_header(data, end) is not None else data


def _check_limits(name: str, rate: int, channels: int, frames: int) -> None:
    if not 1 <= channels <= MAX_CHANNELS:
        raise UnreadableAudio(f"{name} has {channels} channels: 1 to {MAX_CHANNELS} are read")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise UnreadableAudio(f"{name} has {rate} samples a second: {MIN_RATE} to {MAX_RATE} are read")
    if frames * channels > MAX_SAMPLES:
        raise UnreadableAudio(f"{name} holds {frames * channels} samples: at most {MAX_SAMPLES} are read")


def _is_foreign(data: bytes) -> bool:
    """Whether this is a container that only PyAV reads: MP4/M4A, Matroska/WebM, raw AAC."""
    return (
        data[4:8] == b"ftyp" or data[:4] == b"\x1a\x45\xdf\xa3" or (data[0] == 0xFF and data[1:2] in (b"\xf1", b"\xf9"))
    )


def _by_pyav(data: bytes, name: str) -> Audio:
    try:
        import av  # noqa: PLC0415  (an optional extra)
    except ImportError:
        raise MissingExtra(
            f"{name} is M4A, AAC or WebM, which needs PyAV: install it with `pip install 'tonewheel[m4a]'`, "
            f"or convert the file to WAV or FLAC"
        ) from None
    try:
        # The list of demuxers keeps playlists from opening other files and addresses.
        with av.open(io.BytesIO(data), options={"format_whitelist": "mov,aac,matroska"}) as container:
            if not container.streams.audio:
                raise UnreadableAudio(f"{name} holds no audio stream")
            return _decoded_stream(container, name)
    except (av.error.FFmpegError, ValueError, OSError, MemoryError) as e:
        raise UnreadableAudio(f"{name} cannot be decoded as audio: {_reason(e)}") from None


def _decoded_stream(container: Any, name: str) -> Audio:
    import av  # noqa: PLC0415

    stream = container.streams.audio[0]
    rate, channels = int(stream.rate or 0), int(stream.codec_context.channels or 0)
    if not rate or not channels:
        raise UnreadableAudio(f"{name} cannot be decoded as audio: it ends before its first sound")
    _check_limits(name, rate, channels, 0)
    resampler = av.AudioResampler(format="fltp", layout=stream.codec_context.layout, rate=rate)
    blocks: list[NDArray[np.float32]] = []
    total = 0
    for frame in chain(container.decode(stream), [None]):
        for piece in resampler.resample(frame):
            blocks.append(np.ascontiguousarray(piece.to_ndarray().T, dtype=np.float32))
            total += len(blocks[-1])
            _check_limits(name, rate, channels, total)
    samples = np.concatenate(blocks) if blocks else np.zeros((0, channels), np.float32)
    return Audio(samples, rate, str(stream.codec_context.name).upper())


def _reason(e: BaseException) -> str:
    text = getattr(e, "error_string", "") or getattr(e, "strerror", "") or str(e) or type(e).__name__
    return " ".join(str(text).split())[:160]


def _shown(path: Path | str) -> str:
    text = str(path).encode("utf-8", "backslashreplace").decode()
    return repr(text if len(text) <= 200 else f"{text[:100]}...{text[-80:]}")
