"""How a length in seconds becomes frames, and frames windows that the model can hold."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

SAMPLE_RATE = 32_000  # Hz
FRAMES_PER_SECOND = 50
SAMPLES_PER_FRAME = SAMPLE_RATE // FRAMES_PER_SECOND
WINDOW_FRAMES = 1500  # 30 s, what the models were trained on
MIN_CONTEXT, MAX_CONTEXT = 750, 1000  # frames of a window that repeat what is there: 15 to 20 s


@dataclass(frozen=True, slots=True)
class Window:
    """One run of the model: it goes on from the last `context` frames and makes `frames` new ones."""

    number: int
    start: int  # the frame of the whole piece (what was given included) where its context begins
    context: int
    frames: int


def frames_of(seconds: float) -> int:
    """Frames that cover `seconds`."""
    # A length such as 2.3 s is not exact in binary: a frame more for 1e-14 of it would be a frame too many.
    return math.ceil(round(seconds * FRAMES_PER_SECOND, 6))


def samples_of(seconds: float) -> int:
    """Samples a channel, exactly."""
    return round(seconds * SAMPLE_RATE)


def windows(frames: int, given: int = 0) -> Iterator[Window]:
    """Windows that make `frames` new frames after `given` ones that are there.

    The first goes on from what was given, as much of it as fits; each further one from 15 to 20 s.
    """
    done, number = 0, 0
    while done < frames:
        there, left = given + done, frames - done
        context = min(there, MAX_CONTEXT, max(MIN_CONTEXT, WINDOW_FRAMES - left))
        new = min(left, WINDOW_FRAMES - context)
        yield Window(number, there - context, context, new)
        done += new
        number += 1
