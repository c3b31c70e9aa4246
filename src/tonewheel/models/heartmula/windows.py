"""Lengths: codes come 12.5 a second and are decoded in windows of 29.76 s, of which neighbours share 4.16 s."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

SAMPLE_RATE = 48_000
SAMPLES_PER_FRAME = 3840  # of 12.5 a second
FRAME_S = 0.08
LATENTS_PER_FRAME = 2
WINDOW, HOP = 372, 320  # codes; upstream's 29.76 s and 80/93 of it
OVERLAP = WINDOW - HOP


@dataclass(frozen=True, slots=True)
class Window:
    """Codes start … start + 371 of the song; beyond its end it begins anew."""

    number: int
    start: int
    last: bool

    @property
    def needs(self) -> int:
        """Codes that must be there before it can be decoded, of a song that goes on."""
        return self.start + WINDOW


def frames_of(seconds: float) -> int:
    """Frames for so many seconds: at least one, at most 40 ms from it."""
    return max(1, round(seconds / FRAME_S))


def count(frames: int) -> int:
    """Windows of a song of so many frames.

    Upstream reckons with twice the overlap here (104 latents where 52 codes belong) and loses the last 4.16 s of songs
    of 424, 744, 1064 … frames.
    """
    return 1 if frames <= WINDOW else -(-(frames - OVERLAP) // HOP)


def windows(frames: int) -> Iterator[Window]:
    """All windows of a song of so many frames, in order."""
    total = count(frames)
    for number in range(total):
        yield Window(number, number * HOP, number + 1 == total)
