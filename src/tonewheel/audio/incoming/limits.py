"""How much of somebody else's audio is taken, and what is asked of a decoder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from tonewheel.errors import TooLarge, UnreadableAudio


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps on one file and on the process that decodes it."""

    file_bytes: int = 256 * 1024 * 1024
    seconds: float = 3600.0
    least_seconds: float = 0.02  # one spectrum; a file of one sample is a mistake
    channels: int = 8
    least_rate: int = 4_000  # Hz
    rate: int = 192_000
    samples: int = 700_000_000  # channels x frames: an hour of stereo at 96 kHz
    memory_bytes: int = 512 * 1024 * 1024  # address space of the decoder, beside the file (not on macOS)
    cpu_s: int = 60
    wall_s: int = 120

    def check(self, name: str, rate: int, channels: int, frames: int) -> None:
        """Raises UnreadableAudio (422) for a kind that is not taken, TooLarge (413) for too much of it."""
        if not 1 <= channels <= self.channels:
            raise UnreadableAudio(f"{name} has {channels} channels: 1 to {self.channels} are taken")
        if not self.least_rate <= rate <= self.rate:
            raise UnreadableAudio(f"{name} has {rate} samples a second: {self.least_rate} to {self.rate} are taken")
        if frames > self.seconds * rate:
            raise TooLarge(f"{name} lasts longer than {self.seconds:g} s, which is all that is taken: cut it")
        if frames * channels > self.samples:
            raise TooLarge(f"{name} holds more than {self.samples} samples: cut it, or lower its sample rate")

    def check_bytes(self, name: str, size: int) -> None:
        """Raises TooLarge (413), or UnreadableAudio (422) for nothing at all."""
        if size == 0:
            raise UnreadableAudio(f"{name} is empty: it holds no audio")
        if size > self.file_bytes:
            raise TooLarge(f"{name} is larger than {self.file_bytes} bytes, which is all that is taken: send less")


ORDER_BYTES = 1024  # of a task as a decoder gets it


@dataclass(frozen=True, slots=True)
class Task:
    """What a decoder is asked. `rate` is the one wanted, None = as it is; `mono` = all channels mixed into one."""

    name: str
    limits: Limits
    rate: int | None = None
    mono: bool = False

    def packed(self) -> bytes:
        # Not as ASCII, which takes twelve bytes for some characters of a name.
        data = json.dumps(asdict(self), ensure_ascii=False).encode(errors="replace")
        assert len(data) <= ORDER_BYTES
        return data.ljust(ORDER_BYTES)

    @classmethod
    def unpacked(cls, message: bytes) -> Task:
        values: dict[str, Any] = json.loads(message)
        return cls(**(values | {"limits": Limits(**values["limits"])}))
