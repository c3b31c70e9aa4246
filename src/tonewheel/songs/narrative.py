"""What a narrative asks for and is about: style, tempo, key, moods, themes; and what is left to sing of.

What is *asked for* ("Write me a slow, sad lo-fi song about …") is told from what the story says: a house by
the sea asks for no house music. The asking is not sung.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from tonewheel.errors import InvalidRequest
from tonewheel.songs.imagery import fold, read_moods, read_themes
from tonewheel.songs.resources import data
from tonewheel.songs.text import words
from tonewheel.styles.schema import Style
from tonewheel.theory import parse_key


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read. `subject` is the narrative without its request phrases; lists are best first."""

    subject: str
    style: str | None = None
    nearest_to: str | None = None  # the genre asked for, when `style` is only the nearest to it
    tempo: float | None = None
    key: str | None = None
    instrumental: bool = False
    pace: float = 0.0  # -1 slow … 1 fast, when asked for
    moods: tuple[str, ...] = ()
    themes: tuple[str, ...] = ()


# ── asking ──────────────────────────────────────────────────────────────────────────────────────

_NOUN = (
    r"(?:songs?|tracks?|tunes?|beats?|ballads?|anthems?|music|jams?|jingles?|theme songs?|hymns?|blues|waltz|shanty|"
    r"instrumentals?|loops?|soundtracks?|lullab(?:y|ies)|compositions?|melod(?:y|ies)|bangers?|vibes?)"
)
_VERB = (
    r"(?:please |can you |could you |i want (?:you )?(?:to )?|i'd like |i would like |we need |i need |let's |now )*"
    r"(?:to )?(?:write|make|compose|create|generate|produce|play|sing|give|build|record|have|hear)\s+(?:me |us )?"
)
_STRONG = r"about|telling of|telling|inspired by|based on|dedicated to"  # after these comes what a song is about
# "Write me a slow, sad lofi song about" at the head of a narrative; what is between is the asking.
_REQUEST = re.compile(
    rf"^\s*(?P<verb>{_VERB})?(?P<lead>(?:an?|some|this is an?|it is an?|it's an?)\s+)?"
    rf"(?P<asked>(?:[\w&'’\-]+,?\s+){{0,8}}?)(?P<noun>{_NOUN})\b"
    rf"(?:\s*[,:–—-]?\s*(?P<mid>(?:in|at|with)\s[^.!?\n]{{0,60}}?)(?=\s+(?:{_STRONG})\b|\s*[:.,–—-]\s|\s*$))?"
    rf"(?:\s+(?:that is |that's |which is )?(?P<about>{_STRONG}|of|for|on)\b|\s*[:.,–—-]\s+|\s*$|\n)",
    re.IGNORECASE,
)
_BPM = re.compile(r"\b(?:at |around |about )?(\d{2,3}(?:\.\d+)?)\s*bpm\b[,.]?", re.IGNORECASE)
# "in A minor", or "D minor," in a list of wishes; "A minor problem" is no key.
_MODE = r"[ -](major|minor|dorian|mixolydian|lydian|phrygian)\b"
_NOTE = r"([A-G](?:[#♯b♭]| sharp| flat)?)"
_KEY = re.compile(
    rf"\b(?:in(?: the key of)?|key of|key:)\s+{_NOTE}{_MODE}[,.]?|\b{_NOTE}{_MODE}(?=\s*(?:[,.;]|$))[,.;]?"
)
_NO_WORDS = re.compile(
    r"\binstrumentals?(?: only)?\b(?! (?:in|to|for) )[,.]?|\b(?:no|without(?: any)?) (?:vocals?|lyrics)\b[,.]?", re.I
)


@lru_cache(maxsize=4)
def _names(key: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[tuple[str, str], ...]:
    """(spelling, style id), longest first, so that "deep house" wins over "house"."""
    found: dict[str, str] = {}
    for style_id, spellings in key:
        for name in spellings:
            found.setdefault(fold(name), style_id)
    return tuple(sorted(found.items(), key=lambda item: (-len(item[0]), item[0])))


def style_names(library: Mapping[str, Style]) -> tuple[tuple[str, str], ...]:
    """Every name of every style, folded, with its id, the longest first."""
    return _names(tuple((s.id, (s.id, s.title, *s.aliases)) for s in library.values()))


def _find_style(text: str, names: Iterable[tuple[str, str]], everyday: bool) -> str | None:
    folded = f" {fold(text)} "
    for name, style_id in names:
        if f" {name} " in folded and (everyday or (name not in _everyday() and len(name) > 2)):
            return style_id
    return None


@lru_cache(maxsize=1)
def _everyday() -> frozenset[str]:
    return frozenset(str(data("genres")["everyday"]).split())


def _kin_style(asked: str, library: Mapping[str, Style]) -> tuple[str, str] | None:
    """A genre named in a request that no style is called, and the nearest style there is."""
    folded = f" {fold(asked)} "
    kin: dict[str, list[str]] = data("genres")["kin"]
    for genre in sorted(kin, key=lambda g: (-len(g), g)):
        if f" {fold(genre)} " in folded:
            for style_id in kin[genre]:
                if style_id in library:
                    return genre, style_id
    return None


def _strip(pattern: re.Pattern[str], text: str) -> tuple[str, re.Match[str] | None]:
    m = pattern.search(text)
    return (text, None) if not m else (f"{text[: m.start()]} {text[m.end() :]}", m)


def _asking(text: str, names: Iterable[tuple[str, str]], library: Mapping[str, Style]) -> tuple[str, str]:
    """The request at the head of a text and the rest; ("", text) when it tells at once."""
    m = _REQUEST.match(text)
    if not m:
        return "", text
    asked = f"{m['asked']} {m['noun']} {m['mid'] or ''}"
    known = (
        _find_style(asked, names, everyday=True)
        or _kin_style(asked, library)
        or read_moods("", m["asked"])
        or _pace(asked)
    )
    bare = not m["asked"].strip()
    strong = re.fullmatch(_STRONG, m["about"] or "", re.I)
    tells = (strong and (m["lead"] or bare)) or (m["lead"] and (bare or (m["about"] or "").casefold() == "for"))
    # "She sang a song about the sea" is a story: someone else than the user does the asking.
    if m["verb"] or tells or (known and (m["lead"] or _opens_with_wish(asked, names, library))):
        return asked, text[m.end() :]
    return "", text


def _opens_with_wish(asked: str, names: Iterable[tuple[str, str]], library: Mapping[str, Style]) -> bool:
    found = words(asked)
    first = found[0] if found else ""
    starts = (" ".join(found[:count]) for count in (3, 2, 1))
    named = any(_find_style(start, names, everyday=True) or _kin_style(start, library) for start in starts)
    return bool(named or read_moods("", first) or _pace(first) or first == "instrumental")


def read_narrative(text: str, library: Mapping[str, Style]) -> Reading:
    """Read a cleaned narrative. The result is a function of the text and the style names alone."""
    names = style_names(library)
    rest, bpm = _strip(_BPM, text)
    rest, key = _strip(_KEY, rest)
    silent = _NO_WORDS.search(rest)
    asked, rest = _asking(rest, names, library)
    if silent:
        rest = _NO_WORDS.sub(" ", rest)
    style = _find_style(asked, names, everyday=True) if asked else None
    kin = None
    if asked and not style and (found := _kin_style(asked, library)):
        kin, style = found
    style = style or _in_the_style_of(rest, names) or _find_style(text, names, everyday=False)
    subject = re.sub(r"[ \t]+", " ", rest).strip(" ,;:-–—\n")
    if not words(subject):
        subject = text
    tempo = float(bpm[1]) if bpm and 30 <= float(bpm[1]) <= 300 else None
    return Reading(
        subject=subject,
        style=style,
        nearest_to=kin,
        tempo=tempo,
        key=_key_of(key),
        instrumental=silent is not None,
        pace=_pace(asked),
        moods=read_moods(subject, asked),
        themes=read_themes(subject),
    )


_PACES = {"slow": -1, "slower": -1, "downtempo": -1, "fast": 1, "faster": 1, "uptempo": 1, "quick": 1, "driving": 1}


def _pace(asked: str) -> float:
    return float(next((_PACES[w] for w in words(asked.replace("-", "")) if w in _PACES), 0))


def _key_of(m: re.Match[str] | None) -> str | None:
    try:
        return str(parse_key(f"{m[1] or m[3]} {m[2] or m[4]}")) if m else None
    except InvalidRequest:  # "E flat flat minor" is a figure of speech, not a key asked for
        return None


_STYLE_OF = re.compile(
    r"\b(?:style|genre|sound)(?: of|:)\s+([^.,;!?\n]{2,40})"
    r"|\b(?:as|in) an?\s+([^.,;!?\n]{2,40}?)\s+(?:style|song|track)\b",
    re.I,
)


def _in_the_style_of(text: str, names: Iterable[tuple[str, str]]) -> str | None:
    m = _STYLE_OF.search(text)
    return _find_style(m[1] or m[2], names, everyday=True) if m else None
