"""What the decoding process does with one file: blocks in, checked, mixed down, resampled, out to a file of floats."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from tonewheel.audio.blocks import opened
from tonewheel.audio.incoming.container import CODECS, is_cut_off, recognise
from tonewheel.audio.incoming.limits import Limits, Task
from tonewheel.errors import UnreadableAudio

_LOUDEST = 1000.0  # +60 dB over full scale: integers written as floats


def decode_into(data: bytes, task: Task, out: int, report: int) -> dict[str, Any]:
    """Decode `data` into the file descriptor `out` as float32 `[n, channels]`; what it was.

    Ends early (BrokenPipeError) when nobody reads `report` any more. Raises UnreadableAudio, TooLarge, MissingExtra.
    """
    name, limits = task.name, task.limits
    container = recognise(data, name)

    def check(rate: int, channels: int, frames: int) -> None:
        limits.check(name, rate, channels, frames)

    with opened(data, name, check, CODECS) as stream:
        channels = 1 if task.mono else stream.channels
        resampler = _Resampler(stream.rate, task.rate or stream.rate, channels)
        written = 0
        for block in stream.blocks:
            _ensure_heard(report)
            _ensure_sane(block, name)
            mixed = _mixed(block) if task.mono else block
            resampler.frames += len(mixed)
            written += _write(out, resampler.more(mixed))
        _ensure_length(resampler.frames, stream.rate, limits, name)
        written += sum(_write(out, rest) for rest in resampler.rest(written // (4 * channels)))
        if is_cut_off(container, data, stream.declared, resampler.frames):
            raise UnreadableAudio(f"{name} is cut off or damaged: it ends before the length it tells; send it whole")
        return {
            "rate": resampler.target,
            "channels": channels,
            "frames": min(written // (4 * channels), resampler.wanted),
            "source_rate": stream.rate,
            "source_channels": stream.channels,
            "format": stream.format,
        }


def _mixed(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """All channels in one: numpy's mean over so short an axis takes five times as long."""
    total = block[:, :1].copy()
    for channel in range(1, block.shape[1]):
        total += block[:, channel : channel + 1]
    total /= block.shape[1]
    return total


class _Resampler:
    """A resampler of chunks; the first `wanted` frames are what `audio.resample` makes of the whole."""

    def __init__(self, rate: int, target: int, channels: int) -> None:
        self.rate, self.target, self.frames = rate, target, 0
        self._channels = channels
        self._stream = None if rate == target else soxr.ResampleStream(rate, target, channels, quality="HQ")

    @property
    def wanted(self) -> int:
        return round(self.frames * self.target / self.rate)

    def more(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        return block if self._stream is None else self._stream.resample_chunk(block)

    def rest(self, made: int) -> Iterator[NDArray[np.float32]]:
        if self._stream is None:
            return
        tail = self._stream.resample_chunk(np.zeros((0, self._channels), np.float32), last=True)
        yield tail
        yield np.zeros((max(0, self.wanted - made - len(tail)), self._channels), np.float32)


def _ensure_heard(report: int) -> None:
    poll = select.poll()
    poll.register(report, 0)
    if poll.poll(0):  # only errors are told without being asked for: the reader is gone
        raise BrokenPipeError


def _ensure_sane(block: NDArray[np.float32], name: str) -> None:
    loudest = max(float(block.max()), -float(block.min()))
    if not np.isfinite(loudest):
        raise UnreadableAudio(f"{name} holds samples that are not numbers (NaN or infinite): export it again")
    if loudest > _LOUDEST:
        raise UnreadableAudio(f"{name} reaches {loudest:.0f} times full scale: export floats between -1 and 1")


def _ensure_length(frames: int, rate: int, limits: Limits, name: str) -> None:
    if frames == 0:
        raise UnreadableAudio(f"{name} holds no samples: it is empty or cut off")
    if frames < limits.least_seconds * rate:
        raise UnreadableAudio(f"{name} lasts {frames / rate:.2g} s: at least {limits.least_seconds:g} s are needed")


def _write(out: int, samples: NDArray[np.float32]) -> int:
    if not samples.size:
        return 0
    rest = np.ascontiguousarray(samples, dtype=np.float32).data.cast("B")
    total = len(rest)
    while rest:
        rest = rest[os.write(out, rest) :]
    return total
