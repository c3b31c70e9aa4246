"""Voice leading: the smoothest way through the chords within a register.

Every chord has a few dozen possible voicings (inversions, drop voicings, open position); Viterbi finds
the path that moves least, keeps common tones and stays near the middle of the register.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from tonewheel.seeds import noise
from tonewheel.theory import QUALITIES, Chord

Voicing = tuple[int, ...]  # MIDI notes, low to high

_MUD_BELOW = 52  # intervals under a fourth growl below E3 (low-interval limit of orchestration books)


def rank_tones(chord: Chord, rootless: bool) -> list[int]:
    """The pitch classes of a chord, the ones that say most first: third, seventh, colours, root, fifth."""
    intervals = QUALITIES[chord.quality]
    rank = {
        3: 0,
        4: 0,
        2: 1,
        5: 1,
        10: 2,
        11: 2,
        9: 2,
        6: 3,
        8: 3,
        13: 3,
        14: 4,
        15: 4,
        18: 4,
        21: 4,
        17: 5,
        0: 6,
        7: 7,
    }
    ordered = sorted(intervals, key=lambda i: (rank.get(i, 5), i))
    if len(intervals) <= 4:  # a triad or seventh is hollow without its root unless the bass has it
        ordered.sort(key=lambda i: (i != 0 or (rootless and len(intervals) == 4), rank.get(i, 5), i))
    if rootless and len(intervals) > 3:
        ordered = [i for i in ordered if i != 0]
    return [(chord.root + i) % 12 for i in ordered]


@lru_cache(maxsize=4096)
def candidates(chord: Chord, low: int, high: int, voices: int, rootless: bool) -> tuple[Voicing, ...]:
    """All voicings of a chord with `voices` notes between `low` and `high`; fewer voices when the register
    is too narrow. Never empty."""
    ranked = rank_tones(chord, rootless)
    for count in range(voices, 0, -1):
        tones = ranked[:count]
        found: set[Voicing] = set()
        for turn in range(len(tones)):
            found |= set(_spread(sorted(tones, key=lambda pc: (pc - tones[turn]) % 12), count, low, high))
        if found:
            return tuple(sorted(found))
    return ((low + (ranked[0] - low) % 12,),)


def _spread(tones: list[int], count: int, low: int, high: int) -> list[Voicing]:
    """Close position from `tones[0]` upwards in every octave, with its drop-2 and open forms."""
    out = []
    for base in range(low, high + 1):
        if base % 12 != tones[0]:
            continue
        close = [base]
        for i in range(1, count):
            pc = tones[i % len(tones)]
            close.append(close[-1] + ((pc - close[-1]) % 12 or 12))
        shapes = [close]
        if count >= 4:
            shapes.append(sorted([*close[:-2], close[-2] - 12, close[-1]]))
        if count == 3:
            shapes.append(sorted([close[0], close[1] + 12, close[2]]))
        out += [tuple(s) for s in shapes if s[0] >= low and s[-1] <= high and len(set(s)) == count]
    return out


@lru_cache(maxsize=16384)
def _own_cost(voicing: Voicing, centre: float) -> float:
    cost = 0.3 * abs(sum(voicing) / len(voicing) - centre)
    for a, b in pairwise(voicing):
        gap = b - a
        if a < _MUD_BELOW and gap < 5:
            cost += 2.5
        if gap > 12:
            cost += 1.0
        if gap == 1:
            cost += 0.8
    if len(voicing) > 1 and voicing[-1] - voicing[-2] == 1:
        cost += 1.5  # a semitone on top hides which note is the tune
    for i, a in enumerate(voicing):
        cost += sum(2.0 for b in voicing[i + 1 :] if b - a == 13)
    return cost


@lru_cache(maxsize=8192)
def _moves(before: tuple[Voicing, ...], after: tuple[Voicing, ...]) -> np.ndarray:
    """Cost of moving from each voicing of one chord to each of the next [before, after]."""
    width = max(len(before[0]), len(after[0]))
    a = np.array([_padded(v, width) for v in before], float)[:, None, :]
    b = np.array([_padded(v, width) for v in after], float)[None, :, :]
    steps = np.abs(a - b)
    top = steps[:, :, -1]
    cost: np.ndarray = 0.35 * steps.sum(axis=2) + 0.25 * np.maximum(top - 2, 0) + 0.4 * np.maximum(top - 5, 0)
    return cost


def _padded(voicing: Voicing, width: int) -> Voicing:
    return (voicing[0],) * (width - len(voicing)) + voicing


@dataclass(frozen=True, slots=True)
class Register:
    """Where a part's chords lie: MIDI notes `low` to `high`, `voices` notes a chord. Above `ceiling`, where the
    tune is, a top note costs more the higher it lies."""

    low: int
    high: int
    voices: int
    ceiling: int | None = None

    def cost(self, voicing: Voicing, lift: float) -> float:
        """What a voicing costs by itself, where the whole part is wanted `lift` semitones higher."""
        over = 0.0 if self.ceiling is None else max(0.0, voicing[-1] - self.ceiling - lift)
        return _own_cost(voicing, (self.low + self.high) / 2 + lift) + 0.3 * over


def lead_voices(
    chords: Sequence[Chord], rootless: Sequence[bool], register: Register, seed: int, lifts: Sequence[int] = ()
) -> list[Voicing]:
    """One voicing a chord, the whole path at least cost; `seed` only breaks what is nearly a tie. `lifts` are
    semitones by which a chord is wanted higher or lower than the middle of the register."""
    if not chords:
        return []
    options = [
        candidates(c, register.low, register.high, register.voices, r) for c, r in zip(chords, rootless, strict=True)
    ]
    taste: dict[tuple[tuple[Voicing, ...], int], np.ndarray] = {}
    wanted = list(zip(options, lifts or [0] * len(options), strict=True))
    rng = noise(seed, "voicing")
    for group, lift in wanted:
        if (group, lift) not in taste:
            costs = np.array([register.cost(v, lift) for v in group])
            taste[group, lift] = costs + rng.uniform(0, 0.4, len(group))
    total = taste[wanted[0]]
    back: list[np.ndarray] = []
    for (before, _), (after, lift) in pairwise(wanted):
        paths = total[:, None] + _moves(before, after)
        best = paths.argmin(axis=0)
        back.append(best)
        total = paths[best, np.arange(len(after))] + taste[after, lift]
    at = int(total.argmin())
    path = [at]
    for best in reversed(back):
        at = int(best[at])
        path.append(at)
    path.reverse()
    return [group[i] for group, i in zip(options, path, strict=True)]


def thinned(voicing: Voicing, chord: Chord, voices: int) -> Voicing:
    """A voicing with at most `voices` notes: what says least goes first, the top note stays."""
    if len(voicing) <= voices:
        return voicing
    order = {pc: n for n, pc in enumerate(rank_tones(chord, rootless=False))}
    rest = sorted(voicing[:-1], key=lambda p: (order.get(p % 12, 99), -p))[: max(voices - 1, 0)]
    return tuple(sorted((*rest, voicing[-1])))
