"""Other people's audio, taken with care: uploads, and base64 in requests.

    decode(data, limits)              → Sound: float32 [n, channels], finite, within every limit
    decode(data, rate=48000, mono=True)   the same, mixed down and resampled on the way
    with Intake(limits) as intake:    a body as it comes: `write(chunk)` refuses as soon as it is known that
        …                             it is too large or no audio; then `decode(intake)`

The container is told by its first bytes and must be one of a short list; then a process of its own decodes
it (`nursery`), with limits of memory, CPU and time that the kernel holds, so that a file which breaks
a decoder breaks nothing else. What is wrong with a file is UnreadableAudio (422), too much of it TooLarge (413).
Linux and macOS (where the cap on memory is not held). For a user's own files there is `audio.read`.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from types import TracebackType

from tonewheel.audio.incoming.container import recognise
from tonewheel.audio.incoming.decoders import NURSERY, Check, scratch
from tonewheel.audio.incoming.limits import Limits, Task
from tonewheel.audio.sound import Sound
from tonewheel.errors import TonewheelError, UnreadableAudio

__all__ = ["Intake", "Limits", "Sound", "decode", "warm"]

_HEAD = 4096
_MAX_NAME = 80
DEFAULT = Limits()


class Intake:
    """A body as it comes, kept on disk under no name, capped and looked at while it grows."""

    def __init__(self, limits: Limits = DEFAULT, name: str = "the audio") -> None:
        self.name = name[:_MAX_NAME]
        self.size = 0
        self._limits = limits
        self._head: bytes | None = b""  # None once it was recognised
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  (closed by __exit__)

    def write(self, chunk: bytes) -> None:
        """Raises TooLarge, or UnreadableAudio when the first bytes are no audio."""
        self._limits.check_bytes(self.name, self.size + len(chunk) or 1)
        self._file.write(chunk)
        self.size += len(chunk)
        if self._head is not None:
            self._head += chunk[:_HEAD]
            if len(self._head) >= _HEAD:
                recognise(self._head, self.name)
                self._head = None

    def fileno(self) -> int:
        self._file.flush()
        return self._file.fileno()

    def __enter__(self) -> Intake:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def decode(
    source: bytes | Path | Intake,
    limits: Limits = DEFAULT,
    *,
    rate: int | None = None,
    mono: bool = False,
    name: str = "the audio",
    param: str | None = None,
    check: Check = lambda: None,
) -> Sound:
    """The audio of a file, an upload or bytes; blocking. `rate` and `mono` ask for it resampled and mixed down.

    `name` is used in messages, `param` is the request's field they are about; `check` is called while it waits
    and raises to give up. Raises UnreadableAudio, TooLarge; OutOfMemory or Unavailable when this machine is at fault.
    """
    name = source.name if isinstance(source, Intake) else name[:_MAX_NAME]
    task = Task(name, limits, rate, mono)
    try:
        if isinstance(source, bytes):
            return _decode_bytes(source, task, check)
        if isinstance(source, Path):
            return _decode_file(source, task, check)
        limits.check_bytes(name, source.size)
        return NURSERY.decode(source.fileno(), task, check)
    except TonewheelError as error:
        error.param = error.param or param
        raise


def _decode_bytes(data: bytes, task: Task, check: Check) -> Sound:
    task.limits.check_bytes(task.name, len(data))
    recognise(data, task.name)  # here: most of what is no audio needs no process
    with scratch() as file:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest) :]
        return NURSERY.decode(file, task, check)


def _decode_file(path: Path, task: Task, check: Check) -> Sound:
    try:
        if not path.is_file():
            raise UnreadableAudio(f"{task.name} is no file: name an audio file")
        file = path.open("rb")
    except (OSError, ValueError) as error:
        raise UnreadableAudio(f"{task.name} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    with file:
        task.limits.check_bytes(task.name, os.fstat(file.fileno()).st_size)
        return NURSERY.decode(file.fileno(), task, check)


def warm() -> None:
    """Start what decodes now, so that the first file need not wait."""
    NURSERY.warm()
