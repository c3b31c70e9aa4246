"""Frames of choruses, outros and tags: lines with a place for the hook, and titles for songs without one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from tonewheel.songs.lyrics.couplets import MOODS, neighbours
from tonewheel.songs.lyrics.resources import data
from tonewheel.songs.syllables import count_syllables


@dataclass(frozen=True, slots=True)
class Frame:
    """Lines with `{hook}` in them; `moods` is empty when they suit any song."""

    lines: tuple[str, ...]
    moods: frozenset[str]

    def filled(self, hook: str) -> tuple[str, ...]:
        """The lines with the hook in its places, each beginning with a capital; a long hook is not called twice."""
        once = count_syllables(hook) > _LONG_HOOK
        lines = (line.replace("{hook}, {hook}", "{hook}") if once else line for line in self.lines)
        return tuple(_capital(line.replace("{hook}", hook)) for line in lines)


def _capital(line: str) -> str:
    found = re.search(r"\w", line)
    at = found.start() if found else 0
    return line[:at] + line[at : at + 1].upper() + line[at + 1 :]


@lru_cache(maxsize=8)
def frames(kind: str) -> tuple[Frame, ...]:
    """All frames of a kind (`chorus`, `outro`, `tag`, `turn`)."""
    groups: Mapping[str, Sequence[str]] = data("frames")[kind]
    return tuple(
        Frame(tuple(entry.split(" / ")), frozenset() if moods == "any" else frozenset(moods.split()))
        for moods, entries in groups.items()
        for entry in entries
    )


def _fit(frame: Frame, moods: Sequence[str]) -> float:
    known = [m for m in moods if m in MOODS]
    if not frame.moods or not known:
        return 0.5 if not frame.moods else 0.0
    score = 0.0
    for rank, mood in enumerate(known[:3]):
        weight = (1.0, 0.5, 0.3)[rank]
        if mood in frame.moods:
            score += 1.5 * weight
        elif frame.moods & neighbours("moods")[mood]:
            score += 0.6 * weight
        elif frame.moods <= neighbours("opposites")[mood]:
            score -= 3.0 * weight
    return score


def _strain(frame: Frame, hook: str) -> float:
    """What a frame loses because the hook makes its lines long."""
    lengths = map(count_syllables, frame.filled(hook))
    return 0.5 * sum(max(0, n - _LONG_LINE) for n in lengths)


_LONG_HOOK = 4  # syllables
_LONG_LINE = 10


class FrameChooser:
    """Hands out frames for one song, none twice until all of their length were sung."""

    def __init__(self, moods: Sequence[str], rng: Random) -> None:
        self._moods = moods
        self._rng = rng
        self._used: set[tuple[str, ...]] = set()

    def take(self, kind: str, length: int, hook: str) -> Frame | None:
        """The best frame of `length` lines for a hook, or None when the kind has none of that length."""
        pool = [f for f in frames(kind) if len(f.lines) == length]
        if not pool:
            return None
        free = [f for f in pool if f.lines not in self._used] or pool
        best = max(free, key=lambda f: (_fit(f, self._moods) - _strain(f, hook) + 1.2 * self._rng.random(), f.lines))
        self._used.add(best.lines)
        return best


def bank_title(moods: Iterable[str], themes: Iterable[str], rng: Random) -> str:
    """A title for a song whose narrative has none, from its first known theme and mood."""
    bank: Mapping[str, Mapping[str, Sequence[str]]] = data("titles")
    pool = [t for theme in themes for t in bank["themes"].get(theme, ())][:12]
    pool += [t for mood in moods for t in bank["moods"].get(mood, ())][: 6 if pool else 12]
    return rng.choice(pool or [t for titles in bank["moods"].values() for t in titles])
