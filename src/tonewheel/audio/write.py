"""Samples to the bytes of a file: the same samples and tags always give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import soundfile
from numpy.typing import NDArray

from tonewheel import seeds
from tonewheel.audio.formats import FORMATS, INFO, Format, rate_for
from tonewheel.audio.mp3 import encode_mp3
from tonewheel.audio.resample import resample
from tonewheel.audio.tags import Tags, embed
from tonewheel.errors import InvalidRequest, RenderFault

__all__ = ["FORMATS", "encode"]
Samples = NDArray[np.float32]
Progress = Callable[[float], None]
_SUBTYPES = {16: "PCM_16", 24: "PCM_24"}
_OGG = {"ogg": ("VORBIS", 0.4), "opus": ("OPUS", 0.6)}  # subtype, libsndfile's compression level (0 = best quality)


def encode(
    samples: Samples,
    rate: int,
    format: Format,
    tags: Tags | None = None,
    *,
    bits: int = 16,
    on_progress: Progress | None = None,
) -> bytes:
    """A whole file: `samples [n, channels]`, float32 with full scale at ±1, at `rate` Hz.

    WAV and FLAC hold `bits` (16 with triangular dither, or 24); MP3 is variable bit rate near
    190 kbit/s; Ogg Vorbis and Opus are near 160 kbit/s, Opus at 48 kHz. What exceeds full scale is
    clipped. `on_progress` is told the share done, 0 to 1. Raises InvalidRequest for what the format
    cannot hold and RenderFault for samples that are not finite.
    """
    _check(samples, format, bits)
    if (target := rate_for(format, rate)) != rate:
        samples = resample(samples, rate, target)
        rate = target
    channels, total = samples.shape[1], len(samples)
    if format == "mp3":
        data = encode_mp3(_reported(_integers(samples, rate, 16), total, on_progress), rate, channels)
    elif format in _OGG:
        chunks = _reported(_chunks(samples, rate), total, on_progress)
        data = _libsndfile(chunks, rate, channels, "OGG", _OGG[format])
    else:
        numbers = _reported(_integers(samples, rate, bits), total, on_progress)
        data = _libsndfile(numbers, rate, channels, format.upper(), (_SUBTYPES[bits], None))
    return embed(data, tags or Tags())


def _check(samples: Samples, format: Format, bits: int) -> None:
    if format not in INFO:
        raise InvalidRequest(f"format {format!r} is not known: use {', '.join(INFO)}", param="format")
    if bits not in _SUBTYPES:
        raise InvalidRequest(f"bits is {bits}: it may be 16 or 24", param="bits")
    if samples.ndim != 2 or samples.shape[1] not in (1, 2) or len(samples) == 0:
        raise InvalidRequest(
            f"samples of shape {samples.shape} cannot be written: give [n, 1] or [n, 2] with n of at least 1",
            param="samples",
        )
    # NaN wins every comparison with max, infinity too: no temporary of the song's size is needed.
    if not np.isfinite(samples.max()) or not np.isfinite(samples.min()):
        raise RenderFault("the audio holds samples that are not numbers (NaN or infinite), so it was not written")


_Array = TypeVar("_Array", bound=NDArray[Any])


def _reported(chunks: Iterator[_Array], total: int, on_progress: Progress | None) -> Iterator[_Array]:
    done = 0
    for chunk in chunks:
        yield chunk
        done += len(chunk)
        if on_progress is not None:
            on_progress(done / total)


def _chunks(samples: Samples, rate: int) -> Iterator[Samples]:
    # libsndfile 1.2.2 overflows the stack when a long Ogg file is written in one call: 1 s at most.
    for start in range(0, len(samples), rate):
        yield np.ascontiguousarray(samples[start : start + rate], dtype=np.float32)


def _integers(samples: Samples, rate: int, bits: int) -> Iterator[NDArray[Any]]:
    """Chunks as 16-bit, or as 24-bit in the upper bits of 32.

    16 bits get triangular dither of two steps' width, which turns the error of rounding from
    distortion into steady noise; at 24 bits that error is below any converter's own noise.
    """
    noise = seeds.noise(0, "dither")
    for chunk in _chunks(samples, rate):
        if bits == 16:
            scaled = chunk * np.float32(32768)
            scaled += noise.random(chunk.shape, np.float32)
            scaled -= noise.random(chunk.shape, np.float32)
            yield np.clip(np.rint(scaled), -32768, 32767).astype(np.int16)
        else:
            scaled = np.rint(chunk * np.float64(1 << 23))
            yield np.clip(scaled, -(1 << 23), (1 << 23) - 1).astype(np.int32) << 8


def _libsndfile(
    chunks: Iterator[NDArray[Any]], rate: int, channels: int, container: str, coding: tuple[str, float | None]
) -> bytes:
    subtype, level = coding
    memory = io.BytesIO()
    with soundfile.SoundFile(
        memory, "w", samplerate=rate, channels=channels, format=container, subtype=subtype, compression_level=level
    ) as file:
        for chunk in chunks:
            file.write(chunk)
    return memory.getvalue()
