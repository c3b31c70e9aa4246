"""The couplets of this house: two lines that rhyme, with the moods and themes they suit.

They answer the narrative's own clauses (`writer`). A song never uses one twice.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from tonewheel.songs.lyrics.grammar import is_function_word
from tonewheel.songs.lyrics.resources import data
from tonewheel.songs.syllables import count_syllables

THEMES: tuple[str, ...] = (
    "sea", "city", "road", "war", "machine", "winter", "love", "home", "night", "rain", "forest", "space",
    "journey", "loss", "childhood", "fire", "dance", "work", "dream", "time", "summer", "mountain", "friendship",
    "music",
)  # fmt: skip
MOODS: tuple[str, ...] = (
    "happy", "sad", "angry", "peaceful", "exciting", "scary", "tense", "melancholic", "upbeat", "calm", "romantic",
    "triumphant", "hopeful", "nostalgic",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Couplet:
    """Two rhymed lines and what they suit.

    `theme` is the first of `themes`. `voice` is who speaks: first (I, we), second (you) or none. Lines
    that are `joined` lean on each other and must not be parted by another line.
    """

    first: str
    second: str
    moods: frozenset[str]
    theme: str
    themes: frozenset[str]
    voice: str
    joined: bool

    @property
    def lines(self) -> tuple[str, str]:
        return self.first, self.second


def last_word(line: str) -> str:
    """The folded word a line ends on."""
    found = re.findall(r"[a-z']+", line.lower().replace("’", "'"))
    return found[-1] if found else ""


def voice_of(text: str) -> str:
    """Who speaks in a text: `first` when it says I or we, else `second` when it says you, else `none`."""
    words = set(re.findall(r"[a-z]+", text.lower().replace("’", "'")))
    if words & {"i", "me", "my", "mine", "we", "us", "our", "ours", "myself"}:
        return "first"
    return "second" if words & {"you", "your", "yours", "yourself"} else "none"


@lru_cache(maxsize=1)
def all_couplets() -> tuple[Couplet, ...]:
    """Every couplet, in the order of the files: `data/couplets/<theme>.yaml`, grouped by moods."""
    out: list[Couplet] = []
    for theme in THEMES:
        groups: Mapping[str, Sequence[str]] = data(f"couplets/{theme}")
        for moods, entries in groups.items():
            out.extend(_read(entry, theme, moods) for entry in entries)
    return tuple(out)


def _read(entry: str, theme: str, moods: str) -> Couplet:
    """`line / line` or, when the lines must stay together, `line // line`; then perhaps `[more themes]`."""
    text, _, more = entry.rstrip("]").partition(" [")
    first, slash, second = re.split(" (//?) ", text)
    themes = frozenset({theme, *more.split()})
    return Couplet(first, second, frozenset(moods.split()), theme, themes, voice_of(text), slash == "//")


@lru_cache(maxsize=1)
def _sound() -> tuple[tuple[float, tuple[str, str]], ...]:
    """For each couplet its mean syllables a line and the spelling of its two rimes."""
    return tuple(
        (sum(map(count_syllables, c.lines)) / 2, (_rime(last_word(c.first)), _rime(last_word(c.second))))
        for c in all_couplets()
    )


# --- choosing ---------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def neighbours(kind: str) -> Mapping[str, frozenset[str]]:
    return {name: frozenset(str(words).split()) for name, words in data("affinities")[kind].items()}


class CoupletChooser:
    """Hands out couplets for one song, the fittest first, none twice until all were sung."""

    def __init__(self, moods: Sequence[str], themes: Sequence[str], narrative: str, rng: Random) -> None:
        words, voice = _content(narrative), voice_of(narrative)
        self._scored = [
            (c, fit(c, moods, themes) + _echo(c, words) + _voice(c, voice) + _SPREAD * rng.random())
            for c in all_couplets()
        ]
        self._used: set[int] = set()
        self._rhymes: Counter[str] = Counter()

    def take(self, syllables: float, parted: bool = False) -> Couplet:
        """The best couplet not yet used whose lines are about as long as `syllables`.

        `parted` says that another line will stand between the two.
        """
        if len(self._used) == len(self._scored):
            self._used.clear()
        free = (i for i in range(len(self._scored)) if i not in self._used)
        best = max(free, key=lambda i: (self._score_now(i, syllables, parted), -i))
        self._used.add(best)
        self._rhymes.update(_sound()[best][1])
        return self._scored[best][0]

    def _score_now(self, i: int, syllables: float, parted: bool) -> float:
        couplet, score = self._scored[i]
        length, (one, other) = _sound()[i]
        score -= 0.12 * abs(length - syllables) + 0.7 * min(3, self._rhymes[one] + self._rhymes[other])
        return score - (_PARTING if parted and couplet.joined else 0.0)


_SPREAD = 1.3  # of the seed: more than the difference between good couplets, less than between good and bad
_PARTING = 6.0  # cost of parting lines that lean on each other


def _rime(word: str) -> str:
    found = re.search(r"[aeiouy]+[^aeiouy]*e?$", word)
    return found.group() if found else word


def fit(couplet: Couplet, moods: Sequence[str], themes: Sequence[str]) -> float:
    """How well a couplet suits the asked moods and themes (best first); about -4 to 7."""
    return _mood_fit(couplet, moods) + _theme_fit(couplet, themes)


def _mood_fit(couplet: Couplet, moods: Sequence[str]) -> float:
    known = [m for m in moods if m in MOODS]
    if not known:
        return 0.0
    near, far = neighbours("moods"), neighbours("opposites")
    score = 0.0
    for rank, mood in enumerate(known[:3]):
        weight = (1.0, 0.6, 0.35)[rank]
        if mood in couplet.moods:
            score += 2.6 * weight
        elif couplet.moods & near[mood]:
            score += 1.2 * weight
        elif couplet.moods <= far[mood]:
            score -= 3.0 * weight
    return score


# Themes that suit a song about anything; the others bring a place or a matter of their own into the song.
_ANYWHERE = frozenset(("love", "home", "time", "dream", "night", "journey", "friendship", "music", "childhood", "loss"))


def _theme_fit(couplet: Couplet, themes: Sequence[str]) -> float:
    known = [t for t in themes if t in THEMES][:4]
    portable = couplet.theme in _ANYWHERE
    best = -0.4 if portable else -2.0
    for rank, theme in enumerate(known):
        weight = (1.0, 0.85, 0.7, 0.6)[rank]
        if theme == couplet.theme:
            best = max(best, 3.2 * weight)
        elif theme in couplet.themes:
            best = max(best, (2.2 if portable else 0.6) * weight)
        elif couplet.themes & neighbours("themes")[theme]:
            best = max(best, (0.8 if portable else -0.8) * weight)
    if not known:
        return 0.6 if portable else -1.2
    return best + 0.3 * max(0, len(couplet.themes & set(known)) - 1)


def _content(text: str) -> frozenset[str]:
    return frozenset(w for w in re.findall(r"[a-z]{4,}", text.lower()) if not is_function_word(w))


def _echo(couplet: Couplet, words: frozenset[str]) -> float:
    """A shared image binds a couplet to the story."""
    return 0.35 if _content(f"{couplet.first} {couplet.second}") & words else 0.0


def _voice(couplet: Couplet, narrator: str) -> float:
    """A story about someone else is not answered by I and you all the time."""
    table = {
        "first": {"first": 0.6, "second": 0.1, "none": 0.3},
        "second": {"first": 0.4, "second": 0.6, "none": 0.2},
        "none": {"first": -0.5, "second": -0.2, "none": 0.7},
    }
    return table[narrator][couplet.voice]
