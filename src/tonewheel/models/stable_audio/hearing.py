"""Recordings sent along, read and held against what is asked of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tonewheel.audio.incoming import Limits, decode
from tonewheel.errors import InvalidRequest
from tonewheel.models.stable_audio.card import SAMPLE_RATE
from tonewheel.models.stable_audio.edit import Edit

_GIVEN = Limits(file_bytes=64 << 20, seconds=600.0, least_seconds=0.1)


def varied(file: bytes, noise_level: float, duration_s: float | None, most_s: float) -> Edit:
    """Of `init_audio`; without `duration_s` as long as that is. Raises UnreadableAudio, InvalidRequest."""
    samples = _heard(file, "init_audio")
    duration_s = _length(samples, "init_audio", duration_s, most_s)
    return Edit(_cut(samples, duration_s), duration_s, noise_level=noise_level)


def anew(
    file: bytes, start: float | None, end: float | None, duration_s: float | None, most_s: float, frame_s: float
) -> Edit:
    """Of `inpaint_audio`. What comes after its end has to be made, too. Raises UnreadableAudio, InvalidRequest."""
    samples = _heard(file, "inpaint_audio")
    given_s = samples.shape[1] / SAMPLE_RATE
    if duration_s is None and end is not None and end > given_s:
        duration_s = end
    duration_s = _length(samples, "inpaint_audio", duration_s, most_s)
    start = min(given_s, duration_s) if start is None else start
    end = duration_s if end is None else end
    if end > duration_s:
        raise InvalidRequest(f"inpaint_end is {end:g} s, but duration is {duration_s:g} s", param="inpaint_end")
    # The part is made of whole latent frames, counted as diffusers does.
    if int(end / frame_s) <= int(start / frame_s):
        raise InvalidRequest(
            f"inpaint_start {start:g} s to inpaint_end {end:g} s holds nothing to be made anew: it has to be longer "
            f"than {frame_s:.2g} s, and within {duration_s:g} s",
            param="inpaint_start",
        )
    if duration_s > given_s and not (start <= given_s and end >= duration_s):
        raise InvalidRequest(
            f"inpaint_audio ends at {given_s:g} s and duration is {duration_s:g} s: the part made anew has to reach "
            "from there to the end; or leave out duration",
            param="inpaint_end",
        )
    return Edit(_cut(samples, duration_s), duration_s, span=(start, end))


def _heard(file: bytes, name: str) -> NDArray[np.float32]:
    sound = decode(file, _GIVEN, rate=SAMPLE_RATE, mono=False, name=name, param=name)
    samples = np.asarray(sound.samples, dtype=np.float32)
    if samples.shape[1] != 2:  # mono on both sides, surround mixed into both
        samples = np.repeat(samples.mean(axis=1, keepdims=True, dtype=np.float32), 2, axis=1)
    return np.ascontiguousarray(samples.T)


def _length(samples: NDArray[np.float32], name: str, duration_s: float | None, most_s: float) -> float:
    if duration_s is not None:
        return duration_s
    given_s = float(samples.shape[1] / SAMPLE_RATE)
    if not 1.0 <= given_s <= most_s:
        raise InvalidRequest(
            f"{name} lasts {given_s:g} s: 1 to {most_s:g} s can be made; ask for a duration within that", param=name
        )
    return given_s


def _cut(samples: NDArray[np.float32], duration_s: float) -> NDArray[np.float32]:
    return samples[:, : round(duration_s * SAMPLE_RATE)]
