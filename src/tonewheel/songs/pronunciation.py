"""How English words are spoken: where their syllables part and where the stress lies, by rule.

Spelling gives the nuclei (vowel groups, silent e, hiatus) and endings give the stress; what spelling
hides is listed in `lyrics/data/pronunciation.yaml`. Words come in folded: lower-case ASCII letters and
apostrophes.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import yaml

_DATA = Path(__file__).parent / "lyrics" / "data" / "pronunciation.yaml"


class _Lists(NamedTuple):
    """What the data file says: whole words, words stressed on the second or first syllable, weak words."""

    words: dict[str, tuple[tuple[int, ...], int]]  # starts of the syllables, index of the stressed one
    second: frozenset[str]
    first: frozenset[str]
    weak: frozenset[str]
    first_half: re.Pattern[str]
    second_half: re.Pattern[str]


@lru_cache(maxsize=1)
def _lists() -> _Lists:
    raw = yaml.load(_DATA.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    words: dict[str, tuple[tuple[int, ...], int]] = {}
    for entry in raw["words"].lower().split():
        parts = entry.split("-")
        stress = next((i for i, p in enumerate(parts) if p.startswith("'")), 0)
        bare = [p.removeprefix("'") for p in parts]
        starts = tuple(sum(map(len, bare[:i])) for i in range(len(bare)))
        words["".join(bare)] = (starts, stress)
    return _Lists(
        words,
        frozenset(raw["second"].split()),
        frozenset(raw["first"].split()),
        frozenset(raw["weak"].split()),
        re.compile(rf"(?:{'|'.join(raw['first_halves'].split())})(?=[^aeiouy]+[aeiouy]|o[fn]e?$|out|up$|in$|over$)"),
        re.compile(rf"(?<=...)(?:{'|'.join(sorted(raw['second_halves'].split(), key=len, reverse=True))})$"),
    )


@lru_cache(maxsize=8192)
def parse(word: str) -> tuple[tuple[int, ...], frozenset[int]]:
    """Where the syllables of a folded word start, and which are stressed."""
    lists = _lists()
    base = word[:-2] if word.endswith("'s") else word
    if base != word and base:
        starts, stresses = parse(base)
        if base.endswith(_SIBILANTS):  # James's, the nurse's
            return (*starts, len(base) - (2 if base.endswith("e") else 0)), stresses
        return starts, stresses  # else the owner's s adds no syllable
    if word in lists.words:
        starts, stress = lists.words[word]
    else:
        starts = _boundaries(word)
        stress = _stress(word, len(starts)) if len(starts) > 1 else 0
        if base in lists.second and len(starts) > 1:
            stress = 1
    if len(starts) == 1:
        return starts, frozenset() if word in lists.weak else frozenset({0})
    # A long word has a second, lighter beat two syllables before the main one (i-ma-gi-na-tion).
    return starts, frozenset({stress, stress - 2} if stress >= 2 else {stress})


_SIBILANTS = ("s", "x", "z", "ch", "sh", "ce", "ge", "se", "ze")


@lru_cache(maxsize=8192)
def _boundaries(word: str) -> tuple[int, ...]:
    """Start of each syllable of a folded word."""
    exceptions = _lists().words
    if word in exceptions:
        return exceptions[word][0]
    if at := _compound(word):
        tail = (0,) if word[at:] in ("ly", "ty") else _boundaries(word[at:])
        head = f"{word[: at - 1]}y" if word[at - 1] == "i" else word[:at]  # loneli-ness is lonely-ness
        return (*_boundaries(head), *(at + t for t in tail))
    nuclei = _nuclei(word)
    starts = [0]
    for (_, a), (b, _) in pairwise(nuclei):
        starts.append(a + _onset(word[a:b]))
    return tuple(starts)


def _compound(word: str) -> int:
    """Where the second half of a compound begins (fire-place, home-less, some-how), else 0."""
    lists = _lists()
    if (found := lists.second_half.search(word)) and not (found.group() == "ty" and word[found.start() - 1] in "iu"):
        at = found.start()
        return at if re.search("[aeiouy]", word[:at]) else 0
    opening = lists.first_half.match(word)
    return opening.end() if opening and len(word) - opening.end() > 2 else 0


_ONSETS = frozenset(
    ("bl", "br", "cl", "cr", "dr", "fl", "fr", "gl", "gr", "pl", "pr", "tr", "tw", "th", "ch", "sh", "ph", "wh", "qu",
     "thr", "shr", "chr", "str", "spr", "scr", "spl")
)  # fmt: skip


def _onset(cluster: str) -> int:
    """How many consonants between two nuclei stay with the first."""
    n = len(cluster)
    if cluster.endswith("ck") or cluster in ("x", "gh", "ng"):
        return n
    for size in (3, 2):
        if n >= size and cluster[-size:] in _ONSETS:
            return n - size
    return max(0, n - 1) if n else 0


def _is_vowel(word: str, i: int) -> bool:
    char = word[i]
    before = word[i - 1] if i else ""
    after = word[i + 1] if i + 1 < len(word) else ""
    if char == "u":
        return not (after and ((before == "q" and after in "aeioy") or (before == "g" and after in "aeiy")))
    if char == "y":
        glide = after in tuple("aeiou") and (not before or before in "aeiouw'")
        return not glide
    return char in "aeio"


# Consonants that carry a syllable: pris-m, rhyth-m, did-n't, it'll, could've.
_SYLLABIC = re.compile(r"(?:[sz]|th)(m)s?$|[dst](n)'t$|[tdbkpv](')(?:ll|d)$|[tdlv](')ve$")


def _nuclei(word: str) -> list[tuple[int, int]]:
    """Spans of the vowels (or syllabic consonants) that each carry a syllable; at least one."""
    flags = [_is_vowel(word, i) for i in range(len(word))]
    spans: list[list[int]] = []
    for i, vowel in enumerate(flags):
        if not vowel:
            continue
        if spans and spans[-1][1] == i and not _hiatus(word, i):
            spans[-1][1] = i + 1
        else:
            spans.append([i, i + 1])
    if len(spans) > 1 and _silent_e(word, spans[-1][0], spans[-1][1]):
        spans.pop()
    if (ending := _SYLLABIC.search(word)) and spans:
        at = ending.start(ending.lastindex or 0)
        if spans[-1][1] <= at:
            spans.append([at, at + 1])
    return [(a, b) for a, b in spans] or [(0, len(word))]


# Two vowel letters that are two syllables, where they are not what the second pattern says.
_HIATUS = re.compile(
    r"(?:ia|io|iu|eo|ua|uo|ya|yo|yi|yu|ye|ao|ii|uu|ie(?=nt|nc|t$|ty)|(?<=[a-z]{3})ie(?=rs?$|st$)|ea(?=s?$)|oe(?=[tm])|ue(?=[ln])"
    r"|ei(?=ng)|oi(?=ng|c$)|ai(?=c$)|[aeou]i(?=ngs?$)|iu|eu(?=m$))"
)
_ONE_AFTER_ALL = re.compile(
    r"(?<=[ctsx])ia(?=[ln]|$)|(?<=g)ia$|ia(?=ge)|(?<=[ctsxg])io(?=n|us)|(?<=sh)io|(?<=ll)io|(?<=n)io(?=ns?$)|(?<=[ct])ie(?=n)"
    r"|(?<=g)eo(?=n|us|r)|(?<=[qg])u[aeo]|(?<=s)ua(?=d)|ye(?=s?$|d$)|(?<=^[tps])ea|(?<=ov)ea|(?<=r)sea|(?<=cl)ue|(?<=q)ue"
)


def _hiatus(word: str, i: int) -> bool:
    """Whether the vowel letter at i begins a syllable of its own after the one at i - 1."""
    pair = _HIATUS.match(word, i - 1)
    return bool(pair) and not _ONE_AFTER_ALL.match(word, i - 1)


def _silent_e(word: str, start: int, end: int) -> bool:
    """Whether the last nucleus is an e that is not spoken: home, homes, called."""
    if word[start:end] != "e" or start == 0:
        return False
    stem, tail = word[:start], re.sub(r"'s?$", "", word[end:])
    if tail not in ("", "s", "d") or (word[end:] == "'s" and stem.endswith(("s", "x", "z", "c", "g", "ch", "sh"))):
        return False
    if re.search(r"[^aeiouylrw']l$", stem):  # ta-ble, set-tled
        return False
    if tail == "d":
        return not stem.endswith(("t", "d"))
    if tail == "s":
        return not stem.endswith(("s", "x", "z", "c", "g", "ch", "sh")) and not re.search(r"[ctbg]r$", stem)
    return not re.search(r"[ctbg]r$", stem)  # a-cre, the-a-tre


# --- stress ---------------------------------------------------------------------------------------

# Endings that put the stress on the syllable just before them, and those that put it one earlier.
_BEFORE = re.compile(
    r"(?:[tsc]ions?|[tsc]ional|cians?|ics?|ically|ical|[ie]ty|[ie]ties|[ie]ous|[ctx]ious|[ctn]ial|ians?|ia|iance|[ctr]ient|[ctr]ience|"
    r"ology|ography|onomy|ometer|graphy|ental|geous|sive|[cp]tive)$"
)
_TWO_BEFORE = re.compile(r"(?:[a-z]ates?|ated|ating|izes?|ized|izing|ises|ified|ify|ifies)$")
_LAST = re.compile(r"(?:ee|eers?|eered|oons?|ique|esque|ettes?|self|selves)$")
_NEUTRAL = re.compile(r"(?:'s|ings?|ed|ers?|est|ly|ness|ful|less|ment|ments|es|s)$")


# A verb's prefix before a heavy last syllable does not take the stress: de-fine, con-tain, im-ply.
_PREFIX = re.compile(
    r"(?:a(?:bb|cc|ff|gg|ll|nn|pp|rr|ss|tt)|be|com|con|de|dis|em|en|ex|im|in|mis|ob|per|pre|pro|re|sub|sur|trans|un)(?=[a-z]{3})"
)
_HEAVY = re.compile(
    r"(?:[aeiou][^aeiouy]e|[aeo][iuyw][^aeiouy]*|e[ae][^aeiouy]*|ct|pt|nd|rt|st|nt|lt|ss|rm|rn|rge|rve|lve|nse|ply|fy|rse|e?el|fer|mit|pel)$"
)


def _stress(word: str, n: int) -> int:
    """Index of the main stress of a word of n > 1 syllables."""
    if _LAST.search(word) and n < 5:
        return n - 1
    if n > 2 and (found := _BEFORE.search(word)):
        after = len(_nuclei_in(word, found.start()))
        return max(0, n - after - 1)
    if n > 2 and _TWO_BEFORE.search(word):
        return max(0, n - 3)
    stem = _stem(word)
    if stem is not None:
        return stem
    if n == 2:
        return int(bool(_PREFIX.match(word) and _HEAVY.search(word)) and word not in _lists().first)
    return 0 if n == 3 else n - 3


def _stem(word: str) -> int | None:
    """The stress of the word without a neutral ending, when that is a word of its own."""
    lists = _lists()
    ending = _NEUTRAL.search(word)
    if not ending or len(word) - len(ending.group()) < 3:
        return None
    bare = word[: ending.start()]
    for form in (bare, bare + "e", bare[:-1] if bare[-1:] == bare[-2:-1] else bare, re.sub("i$", "y", bare)):
        if form in lists.words and len(lists.words[form][0]) > 1:
            return lists.words[form][1]
        if form in lists.second:
            return 1
    if ending.group() in ("ing", "ings", "ed", "er", "ers", "es"):
        bare += "" if re.search(r"[^aeiouy]{2}$|[aeo][aeiouyw][^aeiouy]*$", bare) else "e"  # deriv-ing → derive
    size = len(_boundaries(bare))
    return _stress(bare, size) if size > 1 else 0


def _nuclei_in(word: str, start: int) -> list[int]:
    """Starts of the syllables whose nucleus lies in the ending that begins at `start`."""
    return [a for a, _ in _nuclei(word) if a >= start]
