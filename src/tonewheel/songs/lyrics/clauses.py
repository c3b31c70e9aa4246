"""Lines lifted from the narrative: its own clauses, each short enough to sing and able to stand alone.

A sentence is cut where a speaker would breathe (signs, conjunctions, before prepositions); the best set
of cuts is found by dynamic programming over its words. What cannot become a line of 4 to 11 syllables
is left out, never rewritten: every line is a run of words of the narrative.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise

from tonewheel.songs.lyrics.grammar import Tag, Token, is_known, tokens, word_list
from tonewheel.songs.syllables import count_syllables

MIN_SYLLABLES = 4
MAX_SYLLABLES = 11
_IDEAL_SYLLABLES = 7.5
_MAX_TOKENS = 16
_MAX_CHARACTERS = 90
_MAX_NARRATIVE = 6_000  # characters looked at; a song never needs more

_DROP = 1.5  # cost of leaving words out, and per word
_DROP_WORD = 0.8
_INNER_SIGN = 1.1  # cost of a sign inside a line
_FINE_SIGN = 3.0
_USABLE = 7.0  # a line that costs more than this does not stand alone


@dataclass(frozen=True, slots=True)
class Clause:
    """A line of the narrative. `cost` is lower the better it stands alone."""

    text: str
    syllables: int
    cost: float


@lru_cache(maxsize=64)
def clauses(narrative: str, fine: bool = False) -> tuple[Clause, ...]:
    """The singable clauses of a narrative in its order, none twice; empty when it is not English prose.

    `fine` cuts at every sign it can: more and shorter lines from a short story.
    """
    found: list[Clause] = []
    seen: set[str] = set()
    text = subject_of(narrative)
    if not _reads_as_english(text):
        return ()
    for sentence in sentences(text):
        for clause in _cut(tokens(sentence), _FINE_SIGN if fine else _INNER_SIGN):
            key = re.sub(r"\W+", " ", clause.text.casefold())
            if key not in seen:
                seen.add(key)
                found.append(clause)
    return tuple(found)


# --- the subject of the narrative -------------------------------------------------------------------

_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn"}
_KIND = (
    r"(?:songs?|tracks?|tunes?|ballads?|anthems?|lullab(?:y|ies)|jingles?|hymns?|instrumentals?|pieces?|beats?|"
    r"music|melod(?:y|ies)|numbers?|bangers?|waltz(?:es)?|shant(?:y|ies)|lyrics)"
)
_REQUEST = re.compile(
    r"^\s*(?:(?:please|can|could|would|you|i|we|i'd|want|need|like|to|let's|now)\s+){0,6}"
    r"(?:(?:write|make|compose|create|generate|produce|give|sing|play|build|record)\s+(?:me\s+|us\s+)?)?"
    # No "to" before the kind: "two robots learn to waltz" asks for nothing.
    rf"(?:(?:an?|some|the|my|our|one)\s+)?(?:(?!to\b)[\w&'’-]+,?\s+){{0,7}}?{_KIND}\b"
    r"(?:\s+(?:in|at|with)\s[^.!?,\n]{0,50}?)?\s*(?:,?\s*(?:that is|that's|which is)?\s*"
    r"(?:about|of|for|on|telling of|inspired by|based on|dedicated to|where|in which|:|–|—|-)\s+|[.!]?\s*$)",
    re.IGNORECASE,
)
_ASIDES = re.compile(
    r",?\s*\b(?:in the style of [^.,;!?\n]{2,40}|(?:at |around )?\d{2,3}\s*bpm|"
    r"in [A-G](?:[#♯b♭]| sharp| flat)? (?:major|minor)|"
    rf"(?:called|titled|entitled|named) [\"“][^\"”\n]{{1,60}}[\"”]|(?:make|keep) it (?:a |an )?[^.,;!?\n]{{2,40}}|"
    rf"(?:the|this) {_KIND} (?:should|must|has to|needs to) [^.;!?\n]{{2,60}})",
    re.IGNORECASE,
)


def clean(text: str, limit: int = _MAX_NARRATIVE) -> str:
    """One line in normal form without invisible characters (joiners inside emoji go too: lyrics are sung)."""
    text = text[: limit * 4]
    spaced = "".join(" " if c.isspace() or c in "\u2028\u2029\x85" else c for c in text)
    seen = "".join(c for c in spaced if unicodedata.category(c) not in _INVISIBLE)
    return " ".join(unicodedata.normalize("NFC", seen).split())[:limit].strip()


def subject_of(narrative: str) -> str:
    """The narrative without what asks for a song ("a sad lo-fi song about"); line breaks end sentences."""
    lines = (clean(part) for part in re.split(r"[\r\n\u2028\u2029]+", narrative[: _MAX_NARRATIVE * 4]))
    text = "\n".join(line for line in lines if line)[:_MAX_NARRATIVE]
    stripped = _ASIDES.sub("", _REQUEST.sub("", text, count=1)).strip(" ,;:–—-\n")
    return stripped if any(c.isalnum() for c in stripped) or _REQUEST.match(text) else text


_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|\n+|(?<=[。！？])")


def sentences(text: str) -> list[str]:
    """The sentences of a cleaned text; a full stop after a single letter or a title ends none."""
    joined = re.sub(r"\b([A-Z]|Mr|Mrs|Ms|Dr|St)\.\s+", lambda m: f"{m[1]}.\u00a0", text)
    out: list[str] = []
    for part in _SENTENCE_END.split(joined):
        sentence = part.replace("\u00a0", " ").strip()
        if (
            out and count_syllables(out[-1]) < MIN_SYLLABLES and out[-1][-1:] in "!?."
        ):  # "We won!" leans on what follows
            out[-1] = f"{out[-1]} {sentence}"
        elif sentence:
            out.append(sentence)
    return out


def _reads_as_english(text: str) -> bool:
    """Whether enough words are known; names and a few rare words are no objection."""
    words = [t.word for t in tokens(text[:2000])]
    if not words:
        return False
    return sum(map(is_known, words)) >= 0.4 * len(words)


# --- cutting ------------------------------------------------------------------------------------------


def _cut(words: Sequence[Token], inner_sign: float) -> list[Clause]:
    """The clauses of one sentence: the set of cuts that costs least."""
    n = len(words)
    breaks = [0.0, *(_break_cost(words, i) for i in range(1, n)), 0.0]
    sizes = [0, *accumulate(count_syllables(t.raw) for t in words)]
    best: list[tuple[float, int, Clause | None]] = [(0.0, 0, None)]
    for end in range(1, n + 1):
        options: list[tuple[float, int, Clause | None]] = []
        for start in range(max(0, end - _MAX_TOKENS), end):
            base = best[start][0] + breaks[end]
            options.append((base + _DROP + _DROP_WORD * (end - start), start, None))
            clause = None
            if MIN_SYLLABLES <= sizes[end] - sizes[start] <= MAX_SYLLABLES + 1:  # one more for an "and" that goes
                clause = _clause(words, start, end, breaks, inner_sign)
            if clause:
                options.append((base + clause.cost - breaks[end], start, clause))
        best.append(min(options, key=lambda o: (o[0], -o[1])))
    out: list[Clause] = []
    end = n
    while end > 0:
        _, start, clause = best[end]
        if clause and clause.cost <= _USABLE:
            out.append(clause)
        end = start
    return out[::-1]


def _clause(words: Sequence[Token], start: int, end: int, breaks: Sequence[float], inner_sign: float) -> Clause | None:
    """The words start..end as a line, or None when they cannot be one."""
    first = start
    while first < end and words[first].tag == "COORD":  # "and the light still burns" stands better without "and"
        first += 1
    run = words[first:end]
    if len(run) < 2 or _dangles(run):
        return None
    text = _text(run)
    if not text or len(text) > _MAX_CHARACTERS or any(len(t.raw) > 30 for t in run):
        return None
    syllables = count_syllables(text)
    if not MIN_SYLLABLES <= syllables <= MAX_SYLLABLES:
        return None
    inner = sum(inner_sign * (2 if b.tag == "COORD" else 1) for a, b in pairwise(run) if a.closes)
    cost = breaks[start] + breaks[end] + inner + 0.06 * (syllables - _IDEAL_SYLLABLES) ** 2 + _weakness(run)
    return Clause(text, syllables, cost)


def _text(run: Sequence[Token]) -> str:
    """The run as a line: signs inside kept, those at its edges dropped but for ! and ?."""
    joined = "".join(f"{t.raw}" if t.raw.endswith(("–", "—", "/", "|")) else f"{t.raw} " for t in run).strip()
    text = re.sub(r"^[^\w'’]+", "", joined)
    tail = re.search(r"[^\w'’]*$", text)
    sign = "?" if tail and "?" in tail.group() else "!" if tail and "!" in tail.group() else ""
    text = text[: tail.start()] if tail else text
    if not re.search(r"(?:s|in)['’]$", text):  # an apostrophe belongs to sailors' and singin'
        text = text.rstrip("'’")
    if not re.match(r"['’](?:til|tis|twas|cause|em|round|neath)\b", text, re.IGNORECASE):
        text = text.lstrip("'’")
    for left, right in ("()", "[]", "“”"):
        if text.count(left) != text.count(right):
            text = text.replace(left, "").replace(right, "")
    if text.count('"') % 2:
        text = text.replace('"', "")
    return text[:1].upper() + text[1:] + sign if text else ""


_NOT_LAST: frozenset[Tag] = frozenset({"DET", "PREP", "SUB", "COORD"})


def _dangles(run: Sequence[Token]) -> bool:
    """Whether the run begins or ends in a word that wants a neighbour it has lost."""
    last, first = run[-1], run[0]
    if last.word in word_list("never_last") or last.tag in _NOT_LAST:
        return True
    question = run[-1].raw.rstrip("\"'”’").endswith("?")
    return first.word in word_list("never_first") and not question


def _weakness(run: Sequence[Token]) -> float:
    """How much the line leans on what stood before it, and how little it says."""
    cost = 0.0
    first = run[0]
    if first.word in ("that", "which", "who", "whose", "whom"):
        cost += 2.0
    elif first.tag == "SUB":
        cost += 0.4
    elif first.tag == "PREP" and first.word == "to":
        cost += 0.8
    elif first.tag in ("VERB", "ED", "AUX"):
        cost += 0.9
    elif first.tag == "ADV" and first.word in ("not", "also", "away", "back", "too"):
        cost += 1.2
    if not any(t.tag in ("VERB", "ED", "ING", "AUX", "PRON") for t in run):
        cost += 0.6  # no verb: an image, good now and then
    if _trails_off(run):
        cost += 2.5
    if _lost_subject(run):
        cost += 6.0
    if _two_sentences(run):
        cost += 1.2
    content = sum(t.tag in ("NOUN", "NAME", "ADJ", "VERB", "ING", "ED") for t in run)
    if content < 2:
        cost += 0.4 if first.tag == "PRON" else 1.0
    return cost


def _trails_off(run: Sequence[Token]) -> bool:
    """Whether the run ends in a new subject without its verb: "now she is gone and the phone"."""
    at = max((i for i, t in enumerate(run) if t.tag == "COORD"), default=0)
    if not 0 < at < len(run) - 1 or run[at + 1].tag != "DET":
        return False
    verbs = ("VERB", "ED", "ING", "AUX")
    return any(t.tag in verbs for t in run[:at]) and not any(t.tag in verbs for t in run[at:])


def _two_sentences(run: Sequence[Token]) -> bool:
    """Whether a conjunction inside the run begins a sentence of its own: "we were young and the summer was"."""
    verbs = ("VERB", "ED", "AUX")
    at = next((i for i, t in enumerate(run) if i and t.tag == "COORD"), 0)
    return 0 < at < len(run) - 2 and all(any(t.tag in verbs for t in part) for part in (run[:at], run[at + 2 :]))


def _lost_subject(run: Sequence[Token]) -> bool:
    """Whether the run begins after its subject: "in the kitchen still rings"."""
    if run[0].tag != "PREP" or run[0].word == "to":
        return False
    at = next((i for i, t in enumerate(run) if t.tag in ("NOUN", "NAME")), None)
    if at is None or run[at].closes:
        return False
    rest = [t.tag for t in run[at + 1 :] if t.tag != "ADV"]
    return bool(rest) and rest[0] in ("VERB", "AUX", "ED")


# Costs of a cut before a word, from what speakers do: 0 at a sign, above 4 inside a phrase.
def _break_cost(words: Sequence[Token], i: int) -> float:
    before, here = words[i - 1], words[i]
    if before.closes or here.opens:
        return 0.0
    if before.tag in ("DET", "NUM", "COORD") or before.word in word_list("never_last"):
        return 12.0
    if before.tag == "ADJ" and here.tag in ("NOUN", "NAME", "ADJ", "NUM", "ING"):
        return 12.0
    return _break_by_class(words, i, before, here)


def _break_by_class(words: Sequence[Token], i: int, before: Token, here: Token) -> float:
    after: Tag | None = words[i + 1].tag if i + 1 < len(words) else None
    if here.tag == "COORD":
        return _break_before_and(here, after)
    if here.tag == "SUB":
        return 1.6 if here.word in ("that", "which", "who", "whose", "whom") else 0.5
    if here.tag == "PREP":
        return _break_before_preposition(before, here, after)
    if before.tag in ("PREP", "SUB"):
        return 12.0
    if (
        here.tag == "PRON"
        and here.word in ("i", "he", "she", "we", "they", "you", "it")
        and before.tag in ("NOUN", "NAME", "ADV")
    ):
        return 1.5
    if here.tag == "ING" and before.tag in ("NOUN", "NAME", "PRON", "ADV"):
        return 1.2
    if here.tag == "ADV" and before.tag in ("NOUN", "NAME") and after in ("DET", "PRON", "PREP", "NOUN"):
        return 2.5
    if here.tag == "DET" and before.tag == "NOUN":
        return 2.5  # "every night the rain"
    if here.tag in ("VERB", "AUX", "ED") and before.tag in ("NOUN", "NAME"):
        return 4.5
    return 6.0 if here.tag == "DET" else 9.0


def _break_before_and(here: Token, after: Tag | None) -> float:
    if here.word in ("but", "so", "yet", "then", "nor"):
        return 0.3
    if after in ("PRON", "AUX"):
        return 0.3
    if after in ("VERB", "ED", "SUB"):
        return 0.9
    if after in ("DET", "ADV", "ING", "PREP"):
        return 1.5
    return 3.5  # salt and stone


def _break_before_preposition(before: Token, here: Token, after: Tag | None) -> float:
    if here.word == "of":
        return 9.0
    if here.word == "to" and after == "VERB":
        return 2.4
    if here.word == "like" and before.tag in ("VERB", "ED", "ING"):
        return 6.0
    if here.word in ("up", "down", "out", "off", "over", "about", "like", "than", "per"):
        return 4.0 if before.tag in ("VERB", "ED", "ING") else 2.0
    if before.tag in ("VERB", "ED", "ING", "ADJ"):
        return 3.0 if here.word in ("for", "to", "at", "on", "with") else 2.0
    return 1.3
