"""Word classes, as far as lyrics need them: closed lists, a lexicon, endings, and the words around.

English nouns and verbs share their forms (`rains`, `boats`), so a word with two classes is decided by
its neighbours: after a determiner it is a noun, after a singular noun a form in -s is a verb.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from tonewheel.songs.lyrics.resources import data

Tag = Literal[
    "DET", "NUM", "PREP", "SUB", "COORD", "PRON", "AUX", "ADV", "NOUN", "VERB", "ADJ", "ING", "ED", "NAME", "OTHER"
]

_CLOSED: tuple[tuple[str, Tag], ...] = (
    ("auxiliaries", "AUX"),
    ("contractions", "PRON"),
    ("pronouns", "PRON"),
    ("determiners", "DET"),
    ("coordinators", "COORD"),
    ("prepositions", "PREP"),
    ("subordinators", "SUB"),
    ("numbers", "NUM"),
    ("adverbs", "ADV"),
)


@dataclass(frozen=True, slots=True)
class Token:
    """A word of a text: as written with its signs, bare, and folded for look-up."""

    raw: str
    bare: str
    word: str
    tag: Tag

    @property
    def closes(self) -> bool:
        """Whether a sign after the word parts it from the next."""
        return _closes(self.raw)

    @property
    def opens(self) -> bool:
        """Whether a sign before the word parts it from the one before."""
        return bool(re.match(r"[(\[–—…\"“]", self.raw))


def _closes(raw: str) -> bool:
    return bool(re.search(r"[,;:)\]–—…/|]$|[.!?]+[\"'”’)\]]*$", raw))


_EDGE = re.compile(r"^[^\w]+|[^\w]+$")


def bare_word(raw: str) -> str:
    """The word without the signs around it; the apostrophe of a plural owner stays (sailors')."""
    bare = _EDGE.sub("", raw).strip("_")
    return f"{bare}'" if re.search(r"s['’]$", raw.rstrip(".,;:!?")) and "'" not in raw[:1] and "‘" not in raw else bare


def tokens(sentence: str) -> tuple[Token, ...]:
    """The words of a sentence with their classes; pieces without a letter or digit are left out."""
    pieces = [p for p in re.split(r"\s+|(?<=[–—…/|])(?=\S)|(?<=\S)(?=[–—…|])", sentence) if any(c.isalnum() for c in p)]
    bares = [bare_word(p) for p in pieces]
    words = [unicodedata.normalize("NFKC", b).replace("’", "'").casefold() for b in bares]
    tags: list[Tag] = []
    for i, word in enumerate(words):
        following = words[i + 1] if i + 1 < len(words) and not _closes(pieces[i]) else ""
        tags.append(_decide(word, bares[i], _before(tags, words, pieces, i), following, i == 0))
    return tuple(Token(p, b, w, t) for p, b, w, t in zip(pieces, bares, words, tags, strict=True))


@lru_cache(maxsize=1)
def _closed() -> dict[str, Tag]:
    out: dict[str, Tag] = {}
    for name, tag in _CLOSED:
        for word in str(data("lexicon")[name]).split():
            out.setdefault(word, tag)
    return out


@lru_cache(maxsize=8)
def word_list(name: str) -> frozenset[str]:
    """A list of the lexicon: nouns, verbs, adjectives, pale_nouns, …"""
    return frozenset(str(data("lexicon")[name]).split())


def is_function_word(word: str) -> bool:
    """Whether a folded word belongs to a closed class (articles, prepositions, pronouns, …)."""
    return word in _closed()


def is_known(word: str) -> bool:
    """Whether the lexicon knows the word in any class or form."""
    return is_function_word(word) or bool(classes(word))


@lru_cache(maxsize=8192)
def classes(word: str) -> frozenset[str]:
    """The open classes a folded word may have by the lexicon: NOUN, NOUNS (plural), VERB, VERBS (-s), ING, ED, ADJ."""
    nouns, verbs, adjectives = word_list("nouns"), word_list("verbs"), word_list("adjectives")
    found: set[str] = set()
    base = re.sub(r"'s?$", "", word)
    if base in nouns:
        found.add("NOUN")
    if base == word:
        if word in verbs:
            found.add("VERB")
        if word in word_list("verb_forms"):
            found.add("ED")
        if word in adjectives or any(s in adjectives for s in _bases(word, r"i?e(?:r|st)$")):
            found.add("ADJ")
        if any(s in nouns for s in _bases(word, r"(?:ie)?e?s$")):
            found.add("NOUNS")
        if any(s in verbs for s in _bases(word, r"(?:ie)?e?s$")):
            found.add("VERBS")
        if any(s in verbs for s in _bases(word, r"ing$")):
            found.add("ING")
        if any(s in verbs for s in _bases(word, r"i?ed$")):
            found.add("ED")
    return frozenset(found)


def _bases(word: str, ending: str) -> list[str]:
    """What the word may be without an ending: dances → danc, dance; running → runn, runne, run; flies → fly."""
    found = re.search(ending, word)
    if not found or found.start() < 2:
        return []
    stem = word[: found.start()]
    out = [stem, stem + "e", stem + "y", stem + "f", stem + "fe"]
    if word[-1] == "s" and word[-2:] != "ss":
        out.append(word[:-1])
    if stem[-1] == stem[-2]:
        out.append(stem[:-1])
    return out


def _before(tags: Sequence[Tag], words: Sequence[str], pieces: Sequence[str], i: int) -> tuple[Tag | None, str]:
    """Class and form of the word before, or (None, "") at the start of a phrase."""
    if i == 0 or _closes(pieces[i - 1]):
        return None, ""
    return tags[i - 1], words[i - 1]


_ENDINGS: tuple[tuple[re.Pattern[str], Tag], ...] = (
    (re.compile(r"^\d"), "NUM"),
    (re.compile(r".{2}ly$"), "ADV"),
    (re.compile(r".{2}ing$"), "ING"),
    (re.compile(r".{2}ed$"), "ED"),
    (re.compile(r".(?:ful|ous|ive|less|ish|ical|ible|able|ier|iest|ern|esque|ic|al)$"), "ADJ"),
    (re.compile(r".(?:ise|ize|ify|ate)$"), "VERB"),
)


def _decide(word: str, bare: str, before: tuple[Tag | None, str], following: str, first: bool) -> Tag:
    tag_before, word_before = before
    if word in _closed():
        return _closed_in_place(word, tag_before, following)
    if not any(c.isalpha() for c in word):
        return "NUM"
    found = classes(word)
    if not found:
        if not first and bare[:1].isupper():
            return "NAME"
        tag: Tag = next((tag for pattern, tag in _ENDINGS if pattern.search(word)), "NOUN")
        alone = tag_before in ("DET", "ADJ") and (not following or is_function_word(following))
        return "NOUN" if tag == "ADJ" and alone else tag  # the music never
    return _open_in_place(word, found, tag_before, word_before, following)


def _closed_in_place(word: str, tag_before: Tag | None, following: str) -> Tag:
    """`her`, `that`, `past` and their like: what follows tells."""
    after = classes(following) if following else frozenset()
    if word == "her" and not after:
        return "PRON"
    if word in ("that", "this", "these", "those", "each", "some", "another") and not (after - {"VERBS", "ED"}):
        return "SUB" if word == "that" and following else "PRON"
    if word == "that" and tag_before in ("NOUN", "VERB"):
        return "SUB"
    if word in ("once", "before", "since", "after", "though", "when", "where", "why") and not following:
        return "ADV"
    if word in word_list("particles") and (
        not following or _closed().get(following) in ("COORD", "SUB") or following in word_list("subjects")
    ):
        return "ADV"
    if word in ("before", "after", "since") and following in word_list("subjects"):
        return "SUB"
    if word in ("until", "till") and _closed().get(following) in ("DET", "PRON"):
        return "SUB"
    if word == "as" or (word == "like" and following in word_list("subjects")):
        return "SUB"
    return _closed()[word]


def _open_in_place(word: str, found: frozenset[str], tag_before: Tag | None, word_before: str, following: str) -> Tag:
    nominal = bool(found & {"NOUN", "NOUNS"})
    verbal = bool(found & {"VERB", "VERBS"}) or ("ED" in found and not word.endswith("ed"))
    if nominal and verbal:
        return "VERB" if _is_verb_here(found, tag_before, word_before, following) else "NOUN"
    if "ADJ" in found and (nominal or verbal):
        return _adjective_or("NOUN" if nominal else "VERB", tag_before, word_before, following)
    if nominal:
        return "NOUN"
    if "ING" in found:
        return "ING"
    if "ADJ" in found:
        return "ADJ"
    return "ED" if "ED" in found else "VERB"


def _adjective_or(other: Tag, tag_before: Tag | None, word_before: str, following: str) -> Tag:
    after = classes(following)
    if other == "VERB":
        if tag_before in ("DET", "ADJ", "NUM") or (tag_before == "AUX" and word_before not in ("to", "can", "will")):
            return "ADJ"
        return "VERB" if tag_before in ("PRON", "NOUN", "NAME") or word_before == "to" else "ADJ"
    return "ADJ" if after & {"NOUN", "NOUNS", "ADJ"} and not (after & {"VERBS"} and "NOUNS" not in after) else other


def _is_verb_here(found: frozenset[str], tag_before: Tag | None, word_before: str, following: str) -> bool:
    """A form that may be noun or verb: rains, boats, love, fell."""
    follows = _closed().get(following)
    if tag_before in ("DET", "ADJ", "NUM", "PREP") and word_before != "to":
        # "the city lights burn" has its verb still to come; "the old man boats" has it here.
        return False
    if word_before in ("that", "who", "which") and tag_before in ("SUB", "PRON") and found & {"VERBS", "ED"}:
        return True  # a cat that rains
    if word_before == "to" or tag_before in ("PRON", "AUX", "ADV"):
        return not (tag_before == "ADV" and word_before in ("away", "home", "here"))
    if tag_before in ("NOUN", "NAME"):
        singular = "NOUN" in classes(word_before) or not word_before.endswith("s")
        if found & {"VERBS", "NOUNS"}:  # in -s: a verb after a singular noun, unless a verb is still to come
            comes = classes(following)
            return singular and "VERBS" in found and not (comes and not comes & {"NOUN", "ADJ", "ING"})
        if not singular:
            return True  # boats drift
        return follows in ("DET", "PRON") or "ED" in found
    if tag_before == "COORD" and "VERB" in found and follows == "PREP":
        return True  # open a bakery and dance with flour
    if tag_before is None:
        return follows in ("DET", "PRON") and "VERB" in found
    return follows in ("DET", "PRON")
