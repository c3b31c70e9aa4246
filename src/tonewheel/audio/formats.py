"""The file formats that are written, and their names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal, get_args

from tonewheel.errors import InvalidRequest

Format = Literal["wav", "flac", "mp3", "ogg", "opus"]
FORMATS: tuple[Format, ...] = get_args(Format)


@dataclass(frozen=True, slots=True)
class FormatInfo:
    """`rates` are the sample rates the format can hold, empty = any."""

    title: str
    media_type: str
    rates: tuple[int, ...] = ()


INFO: dict[Format, FormatInfo] = {
    "wav": FormatInfo("WAV", "audio/wav"),
    "flac": FormatInfo("FLAC", "audio/flac"),
    "mp3": FormatInfo("MP3", "audio/mpeg", rates=(8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)),
    "ogg": FormatInfo("Ogg Vorbis", "audio/ogg"),
    # libopus knows five rates and always decodes at 48 kHz.
    "opus": FormatInfo("Opus", "audio/ogg", rates=(48000,)),
}
ENDINGS: dict[str, Format] = {
    ".wav": "wav", ".wave": "wav", ".flac": "flac", ".mp3": "mp3", ".ogg": "ogg", ".oga": "ogg", ".opus": "opus",
}  # fmt: skip


def format_of(path: PurePath | str) -> Format:
    """The format a file name asks for by its ending. Raises InvalidRequest."""
    ending = PurePath(path).suffix.lower()
    found = ENDINGS.get(ending)
    if found is None:
        if Path(path).is_dir():
            raise InvalidRequest(f"{str(path)[:80]!r} is a folder: name a file in it, such as song.mp3", param="output")
        said = f"the ending {ending[:20]!r} is not known" if ending else "the name has no ending"
        raise InvalidRequest(
            f"cannot tell the format of {PurePath(path).name[:80]!r}: {said}: use .{', .'.join(FORMATS)}",
            param="output",
        )
    return found


def rate_for(target: Format, rate: int) -> int:
    """The sample rate in which audio at `rate` is stored: its own, or the next higher one the format has."""
    rates = INFO[target].rates
    if not rates or rate in rates:
        return rate
    return next((r for r in rates if r >= rate), rates[-1])
