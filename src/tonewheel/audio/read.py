"""Files to samples. The container is told by its content, never by its name."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tonewheel.audio.blocks import opened
from tonewheel.audio.sound import Audio
from tonewheel.errors import UnreadableAudio

MAX_FILE_BYTES = 1024**3
MAX_SAMPLES = 8 * 48_000 * 3600  # channels x frames: an hour of eight channels, 5.5 GB
MAX_CHANNELS = 8
MIN_RATE, MAX_RATE = 1_000, 384_000


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

    def check(rate: int, channels: int, frames: int) -> None:
        _check_limits(name, rate, channels, frames)

    with opened(data, name, check) as stream:
        blocks = list(stream.blocks)
    samples = np.concatenate(blocks) if blocks else np.zeros((0, stream.channels), np.float32)
    if len(samples) == 0:
        raise UnreadableAudio(f"{name} holds no samples: it is empty or truncated")
    if not np.isfinite(samples.max()) or not np.isfinite(samples.min()):
        raise UnreadableAudio(f"{name} holds samples that are not numbers (NaN or infinite): export it again")
    return Audio(samples, stream.rate, stream.format)


def _check_limits(name: str, rate: int, channels: int, frames: int) -> None:
    if not 1 <= channels <= MAX_CHANNELS:
        raise UnreadableAudio(f"{name} has {channels} channels: 1 to {MAX_CHANNELS} are read")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise UnreadableAudio(f"{name} has {rate} samples a second: {MIN_RATE} to {MAX_RATE} are read")
    if frames * channels > MAX_SAMPLES:
        raise UnreadableAudio(f"{name} holds {frames * channels} samples: at most {MAX_SAMPLES} are read")


def _shown(path: Path | str) -> str:
    text = str(path).encode("utf-8", "backslashreplace").decode()
    return repr(text if len(text) <= 200 else f"{text[:100]}...{text[-80:]}")
