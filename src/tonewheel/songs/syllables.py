"""The syllables of a line of lyrics and which of them are stressed: what a melody needs to know.

English words follow `pronunciation`. Other scripts get a fair count: a syllable for each character of
Chinese, Japanese and Korean, for each vowel of Greek and Cyrillic, and for every two letters of the rest.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from tonewheel.songs.pronunciation import parse
from tonewheel.songs.spoken_numbers import spoken

__all__ = ["Syllable", "count_syllables", "syllables"]


@dataclass(frozen=True, slots=True)
class Syllable:
    """One syllable as written, punctuation attached; digits are written as they are spoken."""

    text: str
    stressed: bool
    word_start: bool


def syllables(line: str) -> tuple[Syllable, ...]:
    """The syllables of a line, in order.

    Joined, the texts of a word give the word back with its punctuation (a number gives its spoken
    words). What has neither letter nor digit (dashes, emoji) is left out; nothing raises.
    """
    return tuple(s for word in _words(line) for s in _word_syllables(word))


def count_syllables(line: str) -> int:
    """How many syllables `syllables` finds in the line."""
    return sum(len(_word_syllables(word)) for word in _words(line))


_Part = tuple[str, bool]  # text, stressed

_BREAK = re.compile(r"(?<=[—–…/|])(?=\S)|\s+")


def _words(line: str) -> Iterator[str]:
    for token in _BREAK.split(line):
        if any(c.isalnum() for c in token):
            yield token


@lru_cache(maxsize=4096)
def _word_syllables(token: str) -> tuple[Syllable, ...]:
    parts: list[_Part] = []
    starts = {0}
    pending = ""  # signs before the first letter, kept for the next part
    for kind, text in _runs(token):
        if kind == "sign":
            if parts:
                parts[-1] = (parts[-1][0] + text, parts[-1][1])
            else:
                pending += text
            continue
        if kind == "number":
            words = [_read_latin(word) for word in spoken(text)]
            starts |= {len(parts) + sum(map(len, words[:i])) for i in range(1, len(words))}
            new = [part for word in words for part in word]
        else:
            new = _READERS[kind](text)
        new[0] = (pending + new[0][0], new[0][1])
        pending = ""
        parts.extend(new)
    return tuple(Syllable(text, stressed, i in starts) for i, (text, stressed) in enumerate(parts))


# --- runs of one kind -----------------------------------------------------------------------------

_BY_CHARACTER = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "YI SYLLABLE", "ETHIOPIC SYLLABLE")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*(?:st|nd|rd|th|s)?(?![a-zA-Z])|\d+")


@lru_cache(maxsize=4096)
def _kind(char: str) -> str:
    category = unicodedata.category(char)
    if category[0] == "M":
        return "mark"
    if category[0] not in "LN":
        return "apostrophe" if char in "'’" else "sign"
    if char.isdecimal():
        return "number"
    name = unicodedata.name(char, "")
    if name.startswith("LATIN"):
        return "latin"
    if name.startswith(_BY_CHARACTER):
        return "character"
    return "vowels" if name.startswith(("CYRILLIC", "GREEK")) else "other"


def _runs(token: str) -> Iterator[tuple[str, str]]:
    """The token as (kind, text); marks stay with their letter, apostrophes with their word."""
    i = 0
    while i < len(token):
        kind = _kind(token[i])
        if kind == "number":
            found = _NUMBER.match(token, i)
            end = found.end() if found else i + 1
        else:
            end = i + 1
            inner = ("latin", "mark", "apostrophe") if kind == "latin" else (kind, "mark")
            while end < len(token) and _kind(token[end]) in inner:
                end += 1
            if kind in ("mark", "apostrophe"):
                kind = "sign"
        yield kind, token[i:end]
        i = end


def _read_characters(text: str) -> list[_Part]:
    out: list[_Part] = []
    for char in text:
        if out and unicodedata.category(char)[0] == "M":
            out[-1] = (out[-1][0] + char, out[-1][1])
        else:
            out.append((char, True))
    return out


_OTHER_VOWELS = frozenset("аеёиоуыэюяіїєαεηιουω")


def _read_vowels(text: str) -> list[_Part]:
    folded = [unicodedata.normalize("NFD", c)[0].casefold()[0] for c in text]
    nuclei = [(i, i + 1) for i, c in enumerate(folded) if c in _OTHER_VOWELS or text[i].casefold() in _OTHER_VOWELS]
    if not nuclei:
        return [(text, True)]
    starts = [0, *(max(a + 1, b - 1) for (a, _), (b, _) in pairwise(nuclei))]
    return [(t, k == 0) for k, t in enumerate(_cut(text, starts))]


def _read_other(text: str) -> list[_Part]:
    letters = [i for i, c in enumerate(text) if unicodedata.category(c)[0] != "M"]
    return [(t, k % 2 == 0) for k, t in enumerate(_cut(text, letters[::2] or [0]))]


def _cut(text: str, starts: Iterable[int]) -> list[str]:
    cuts = [0, *list(starts)[1:], len(text)]
    return [text[a:b] for a, b in pairwise(cuts)]


# --- Latin letters, read as English ---

_FOLD = {"’": "'", "ß": "s", "æ": "e", "œ": "e", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "t"}


def _fold(text: str) -> str:
    """Lower-case ASCII of the same length; what is no letter of English becomes an apostrophe."""
    out = []
    for char in text:
        base = _FOLD.get(char.lower()) or unicodedata.normalize("NFD", char)[0].lower()[0]
        out.append(base if base.isascii() and base.isalpha() else "'")
    return "".join(out)


def _read_latin(text: str) -> list[_Part]:
    trimmed = text.rstrip("'’")
    word = _fold(trimmed)
    if not trimmed or not word.strip("'"):
        return [(text, False)]
    if trimmed.isupper() and 1 < len(word) <= 4 and not re.search("[aeiouy]", word):
        return [(c, True) for c in _cut(text, range(len(trimmed)))]  # TV, DJ: spelled out
    starts, stresses = parse(word)
    return [(t, i in stresses) for i, t in enumerate(_cut(text, starts))]


_READERS = {
    "latin": _read_latin,
    "character": _read_characters,
    "vowels": _read_vowels,
    "other": _read_other,
}
