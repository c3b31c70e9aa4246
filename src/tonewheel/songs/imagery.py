"""Moods and themes of a text, by lexicon and position, and the styles that suit them.

The last sentence counts double, because that is where a story says how it ends; one cheerful word does not
make a happy story, and a gloomy one outweighs its cheerful neighbours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from tonewheel.errors import UnknownName
from tonewheel.songs.resources import data
from tonewheel.songs.text import sentences
from tonewheel.styles.schema import Style

MOODS: tuple[str, ...] = tuple(data("moods")["moods"])
THEMES: tuple[str, ...] = tuple(data("themes")["themes"])

_MAX_MOODS = 3
_MAX_THEMES = 4
_ASKED_WEIGHT = 40.0  # what is asked for comes before all that is told
_NAMED_WEIGHT = 1.5  # a story that says "peaceful" means it more than one with a lake in it
_LAST_WEIGHT = 2.0
_NEGATION_REACH = 4  # words


def fold(text: str) -> str:
    """Words in lower case, parted by single spaces; signs and hyphens are spaces."""
    return " ".join(re.sub(r"[^\w&']+", " ", text.casefold().replace("_", " ")).split())


def stems(word: str) -> tuple[str, ...]:
    """A word and what it may be an inflection of (`dances` → `dance`, `crying` → `cry`)."""
    out = [word]
    word = word.removesuffix("'s")
    for suffix, put in (
        ("ies", "y"), ("es", ""), ("s", ""), ("ied", "y"), ("ed", ""), ("ed", "e"), ("ing", ""), ("ing", "e"),
        ("ily", "y"), ("ly", ""), ("er", ""), ("er", "e"), ("est", ""), ("y", ""),
    ):  # fmt: skip
        if word.endswith(suffix) and len(word) - len(suffix) >= (2 if put == "y" else 3):
            base = word[: -len(suffix)] + put
            out.append(base)
            if len(base) > 3 and base[-1] == base[-2] and put == "":
                out.append(base[:-1])  # running -> run
    return tuple(dict.fromkeys([word, *out]))


def _invert(table: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    out: dict[str, list[str]] = {}
    for name, entries in table.items():
        for entry in dict.fromkeys([name, *map(str, entries)]):
            out.setdefault(entry.casefold(), []).append(name)
    return {entry: tuple(dict.fromkeys(found)) for entry, found in out.items()}


@lru_cache(maxsize=1)
def _mood_words() -> dict[str, tuple[str, ...]]:
    return _invert({mood: row["words"] for mood, row in data("moods")["moods"].items()})


@lru_cache(maxsize=1)
def _asked_words() -> dict[str, tuple[str, ...]]:
    own = _mood_words()
    extra = _invert(data("moods")["asked"])
    return {w: tuple(dict.fromkeys((*extra.get(w, ()), *own.get(w, ())))) for w in {**own, **extra}}


@lru_cache(maxsize=1)
def _theme_words() -> dict[str, tuple[str, ...]]:
    return _invert(data("themes")["themes"])


@lru_cache(maxsize=1)
def _phrases() -> tuple[str, ...]:
    every = {**_mood_words(), **_theme_words(), **dict.fromkeys(map(str, data("moods")["gloom"]), ())}
    return tuple(sorted(w for w in every if " " in w))


@lru_cache(maxsize=1)
def english_content() -> frozenset[str]:
    """Words of the lexicons, as a sign that a list of keywords is English."""
    return frozenset(w for w in (*_mood_words(), *_theme_words()) if w.isascii())


def mood_of_word(word: str) -> str:
    """The mood a user's word means (`dreamy` → `calm`). Raises UnknownName."""
    folded = " ".join(word.casefold().split())
    for form in (folded, *stems(folded)):
        if form in MOODS:
            return form
        if found := _asked_words().get(form):
            return found[0]
    raise UnknownName("mood", word, MOODS, param="moods")


_TOKEN = re.compile(r"[^\W\d_]+(?:['’\-][^\W\d_]+)*|[\u2190-\u2bff\U0001f000-\U0001faff]\ufe0f?")


def _tokens(sentence: str) -> list[str]:
    folded = sentence.casefold().replace("’", "'")
    out: list[str] = []
    for phrase in _phrases():
        if phrase in folded:
            out.append(phrase)
            folded = folded.replace(phrase, " ")
    return out + _TOKEN.findall(folded)


def _lookup(token: str, table: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    for form in stems(token):
        if form in table:
            return table[form]
    return table.get(token.rstrip("\ufe0f"), ())


def read_moods(text: str, asked: str = "") -> tuple[str, ...]:
    """Up to three moods of a text, the strongest first; those in `asked` (the request phrase) come before all."""
    wanted = dict.fromkeys(m for token in _tokens(asked) for m in _lookup(token, _asked_words())[:1])
    scores, hits, gloom = _mood_scores(text)
    # One cheerful word does not make a happy story; two do, unless the story ends badly.
    for mood in ("happy", "upbeat"):
        if len(hits.get(mood, ())) < 2:
            scores[mood] = scores.get(mood, 0.0) * 0.4
        scores[mood] = max(scores.get(mood, 0.0) - 1.5 * gloom, 0.0)
    for mood in ("romantic", "hopeful", "triumphant", "peaceful", "exciting"):
        scores[mood] = max(scores.get(mood, 0.0) - 0.7 * gloom, 0.0)
    for mood in wanted:
        scores[mood] = scores.get(mood, 0.0) + _ASKED_WEIGHT
    ranked = sorted((m for m in MOODS if scores.get(m, 0.0) > 0.3), key=lambda m: (-scores[m], MOODS.index(m)))
    if not ranked:
        return ()
    story_best = max((scores[m] for m in ranked if m not in wanted), default=0.0)
    kept = [m for m in ranked if m in wanted or scores[m] >= 0.45 * story_best]
    return tuple(kept[:_MAX_MOODS])


def _mood_scores(text: str) -> tuple[dict[str, float], dict[str, set[str]], float]:
    table, gloomy = _mood_words(), frozenset(map(str, data("moods")["gloom"]))
    negations = frozenset(map(str, data("moods")["negations"]))
    valence = {mood: row["valence"] for mood, row in data("moods")["moods"].items()}
    scores: dict[str, float] = {}
    hits: dict[str, set[str]] = {}
    gloom = 0.0
    told = sentences(text)
    for index, sentence in enumerate(told):
        weight = _LAST_WEIGHT if index == len(told) - 1 and len(told) > 1 else 1.0
        tokens = _tokens(sentence)
        for place, token in enumerate(tokens):
            denied = any(t in negations for t in tokens[max(place - _NEGATION_REACH, 0) : place])
            if not denied and any(form in gloomy for form in stems(token)):
                gloom += weight
                scores["sad"] = scores.get("sad", 0.0) + weight
            for mood in _lookup(token, table):
                if denied:
                    turned = {1: "melancholic", -1: "hopeful"}.get(valence[mood])
                    if turned:
                        scores[turned] = scores.get(turned, 0.0) + 0.4 * weight
                    continue
                named = _NAMED_WEIGHT if mood in stems(token) else 1.0
                scores[mood] = scores.get(mood, 0.0) + weight * named
                hits.setdefault(mood, set()).add(token)
    return scores, hits, gloom


def read_themes(text: str) -> tuple[str, ...]:
    """Up to four themes a text is about, the strongest first."""
    scores: dict[str, float] = {}
    seen: set[str] = set()
    for token in _tokens(text):
        weight = 0.4 if token in seen else 1.0  # a word said five times is one image
        seen.add(token)
        for theme in _lookup(token, _theme_words()):
            scores[theme] = scores.get(theme, 0.0) + weight
    ranked = sorted(scores, key=lambda t: (-scores[t], THEMES.index(t)))
    best = scores[ranked[0]] if ranked else 0.0
    return tuple(t for t in ranked if scores[t] >= 0.3 * best)[:_MAX_THEMES]


# ── choosing a style ────────────────────────────────────────────────────────────────────────────


def rank_styles(text: str, moods: Iterable[str], library: Mapping[str, Style]) -> list[tuple[float, str]]:
    """How well each style suits the text's words and moods, best first."""
    said = {form for token in _tokens(text) for form in stems(token)}
    folded = f" {fold(text)} "
    wanted = list(moods)
    out = []
    for style in library.values():
        keywords = sum(
            1.0
            for k in dict.fromkeys(map(str.casefold, style.keywords))
            if k in said or (" " in k and f" {k} " in folded)
        )
        fit = 0.0
        for rank, mood in enumerate(wanted):
            if mood in style.moods:
                fit += (1.0, 0.6, 0.4, 0.3)[min(rank, 3)] * (1.0 - 0.1 * min(style.moods.index(mood), 6))
        out.append((min(keywords, 4.0) * 0.9 + 2.0 * fit, style.id))
    return sorted(out, key=lambda row: (-row[0], row[1]))
