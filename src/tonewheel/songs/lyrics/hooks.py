"""The hook: the phrase of the narrative that the chorus and the title are made of.

Candidates are noun phrases (modifiers and a noun, "noun of noun", an owner and what is owned); the score
asks for what songs are called: an image of two words, named with a determiner, early or at the end.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tonewheel.seeds import stream
from tonewheel.songs.lyrics.clauses import clauses, clean, sentences, subject_of
from tonewheel.songs.lyrics.grammar import Token, classes, is_function_word, is_known, tokens, word_list
from tonewheel.songs.syllables import count_syllables

MAX_TITLE = 80
_MAX_SYLLABLES = 7
_MAX_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class Hook:
    """A title and the same words as they are sung inside a line (lower case but for names)."""

    title: str
    sung: str


def find_hook(narrative: str, seed: int) -> Hook | None:
    """The hook of a narrative, or None when it holds no usable phrase.

    The seed chooses only among phrases that are nearly as good as the best.
    """
    quoted = _quoted_title(narrative)
    if quoted:
        return as_hook(quoted, narrative)
    text = subject_of(narrative)
    scored = _scored(text)
    if not scored:
        return _without_noun(text)
    rng = stream(seed, "lyrics", "hook", narrative)
    best = max(scored.values())
    if best < _PLAIN_NOUN and (line := _short_sentence(text)):
        return Hook(title_case(line), _low(line))
    margin = 0.25 if best < _PLAIN_NOUN else 0.6
    near = sorted((p for p, s in scored.items() if s >= best - margin), key=lambda p: (-scored[p], p))
    phrase = near[0] if rng.random() < 0.6 else rng.choice(near)
    return Hook(title_case(phrase), phrase)


_PLAIN_NOUN = 4.3  # a phrase of two words scores more


def _short_sentence(text: str) -> str:
    """The first clause, when it is as short as a title: "the city never sleeps"."""
    first = next(iter(clauses(text, fine=True)), None)
    if first is None or first.syllables > _MAX_SYLLABLES - 1:
        return ""
    run = tokens(first.text)
    whole = (
        run[0].tag == "DET" and run[-1].tag in ("VERB", "ED", "ADV") and not any(t.tag in ("PRON", "SUB") for t in run)
    )
    return first.text.rstrip("!?") if whole and len(first.text) <= _MAX_CHARACTERS else ""


def as_hook(phrase: str, narrative: str = "") -> Hook:
    """A given title as a hook: inside a line it is written as the narrative writes it, if it does."""
    title = clean(phrase, MAX_TITLE) or "Untitled"
    found = re.search(rf"(?<!\w){re.escape(title)}(?!\w)", clean(narrative), re.IGNORECASE) if narrative else None
    return Hook(title_case(title), _low(found.group()) if found else title)


def _low(phrase: str) -> str:
    """Without the capital of a sentence's first word, when the rest has none."""
    first, _, rest = phrase.partition(" ")
    if is_known(first.casefold()) and rest == rest.lower() and first[1:] == first[1:].lower() and first != "I":
        return phrase[:1].lower() + phrase[1:]
    return phrase


def own_hook(title: str) -> Hook:
    """A title of our own bank: its common words are sung in lower case."""
    words = (w.lower() if is_known(w.casefold()) and len(w) > 1 else w for w in title.split())
    return Hook(title, " ".join(words))


_SMALL = re.compile(r"(?:an?|the|and|or|but|nor|of|in|on|at|to|for|by|with|from|into|as)", re.IGNORECASE)


def title_case(phrase: str) -> str:
    """As titles are written: small words low but at the ends, other capitals as they came."""
    words = phrase.split()
    out = []
    for i, word in enumerate(words):
        inner = 0 < i < len(words) - 1 and _SMALL.fullmatch(word)
        out.append(word.lower() if inner else word[:1].upper() + word[1:])
    return " ".join(out)[:MAX_TITLE].strip()


def _quoted_title(narrative: str) -> str:
    found = re.search(
        r"\b(?:called|titled|entitled|named)\s+[\"“']([^\"”\n]{2,60}?)[\"”']", narrative[:4000], re.IGNORECASE
    )
    return clean(found[1], MAX_TITLE) if found and any(c.isalpha() for c in found[1]) else ""


# --- candidates -----------------------------------------------------------------------------------


def _scored(text: str) -> dict[str, float]:
    parts = [tokens(s) for s in sentences(text)]
    if not parts:
        return {}
    total = sum(map(len, parts))
    counts = Counter(_stem(t.word) for part in parts for t in part if t.tag in ("NOUN", "NAME"))
    scored: dict[str, float] = {}
    at = 0
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        for start, end in _phrases(part):
            phrase = _text(part, start, end)
            place = 1.2 * (1 - (at + start) / total) + (0.5 if last else 0.0)
            score = place + _score(part, start, end, counts)
            if phrase and score > scored.get(phrase, 0.0):
                scored[phrase] = score
        at += len(part)
    return scored


def _text(part: Sequence[Token], start: int, end: int) -> str:
    phrase = " ".join(t.bare for t in part[start:end])
    if start == 0 and part[0].tag != "NAME" and is_known(part[0].word) and not part[0].bare.isupper():
        phrase = phrase[:1].lower() + phrase[1:]  # the capital was the sentence's
    if not all(_sayable(t) or is_function_word(t.word) for t in part[start:end]):
        return ""
    return phrase if len(phrase) <= _MAX_CHARACTERS and count_syllables(phrase) <= _MAX_SYLLABLES else ""


_MODIFIERS = ("ADJ", "NOUN", "NAME", "ING", "ED", "NUM")


def _phrases(part: Sequence[Token]) -> Iterator[tuple[int, int]]:
    """Runs (start, end) that end in a noun and could be a title."""
    for end in range(1, len(part) + 1):
        if part[end - 1].tag not in ("NOUN", "NAME") or (end < len(part) and _goes_on(part, end)):
            continue
        start = end - 1
        yield start, end
        while start > 0 and end - start < 3 and part[start - 1].tag in _MODIFIERS and not part[start - 1].closes:
            start -= 1
            if not _bad_opening(part, start):
                yield start, end
    yield from _owned(part)
    yield from _of_phrases(part)
    yield from _doing(part)


def _goes_on(part: Sequence[Token], end: int) -> bool:
    """Whether the noun phrase does not end here: "the old" of "the old lighthouse"."""
    return part[end].tag in ("NOUN", "NAME") and not part[end - 1].closes


def _bad_opening(part: Sequence[Token], start: int) -> bool:
    word = part[start]
    if word.tag in ("ING", "ED"):  # "waiting ship" only after a determiner; "came home" never
        before = part[start - 1].tag if start else None
        return before not in ("DET", "ADJ") or (word.tag == "ED" and not re.search(r"(?:ed|en|wn|rn)$", word.word))
    return False


def _owned(part: Sequence[Token]) -> Iterator[tuple[int, int]]:
    """A lone noun with its owner: "his boots"."""
    for i in range(1, len(part)):
        alone = part[i].tag == "NOUN" and not (i + 1 < len(part) and _goes_on(part, i + 1))
        if alone and part[i - 1].word in _OWNERS and not part[i - 1].closes:
            yield i - 1, i + 1


_OWNERS = ("my", "your", "his", "her", "our", "their")
_LINKS = ("of", "in", "on", "by", "under", "without", "beyond", "at", "from", "with")


def _of_phrases(part: Sequence[Token]) -> Iterator[tuple[int, int]]:
    """Noun, link, (determiner), noun: "city of glass", "lanterns on the water"."""
    for i in range(1, len(part) - 1):
        if part[i].word not in _LINKS or part[i - 1].tag not in ("NOUN", "NAME") or part[i - 1].closes:
            continue
        if part[i].word != "of" and _inside_phrase(part, i - 1):
            continue
        if part[i].word in ("at", "from", "with") and _follows_verb(part, i):
            continue
        j = i + 1
        while (
            j < len(part) - 1
            and j < i + 3
            and part[j].tag in ("DET", "ADJ", "NUM")
            and part[j].word not in ("every", "each", "any")
        ):
            j += 1
        if part[j].tag in ("NOUN", "NAME") and not (j + 1 < len(part) and _goes_on(part, j + 1)):
            yield i - 1, j + 1


def _inside_phrase(part: Sequence[Token], i: int) -> bool:
    """Whether the noun at i hangs on a preposition: of "over the phone on Sundays" only "phone" is said."""
    while i > 0 and part[i].tag in ("NOUN", "NAME", "ADJ", "NUM", "DET") and not part[i - 1].closes:
        i -= 1
    return part[i].tag == "PREP"


def _follows_verb(part: Sequence[Token], i: int) -> bool:
    """Whether a verb stands before i in its clause: then "with a suitcase" belongs to it, not to the noun."""
    for token in reversed(part[:i]):
        if token.closes or token.tag in ("COORD", "SUB"):
            return False
        if token.tag in ("VERB", "ED", "ING", "AUX"):
            return True
    return False


def _doing(part: Sequence[Token]) -> Iterator[tuple[int, int]]:
    """A sentence that opens by doing: "dancing in the rain"."""
    if len(part) < 3 or part[0].tag != "ING" or part[1].tag != "PREP" or part[0].closes:
        return
    end = 2
    while end < min(4, len(part) - 1) and part[end].tag in ("DET", "ADJ") and not part[end].closes:
        end += 1
    if part[end].tag in ("NOUN", "NAME") and not (end + 1 < len(part) and _goes_on(part, end + 1)):
        yield 0, end + 1


def _stem(word: str) -> str:
    return re.sub(r"(?:'s|s)$", "", word)


def _score(part: Sequence[Token], start: int, end: int, counts: Counter[str]) -> float:
    run = part[start:end]
    head = run[-1]
    before = part[start - 1] if start else None
    score = {1: 0.0, 2: 2.4, 3: 1.7, 4: 1.5}.get(len(run), 0.5)
    if start <= 1 and part[0].tag == "DET":
        score += 0.4  # what the sentence is about
    if run[0].tag == "DET":
        score -= 1.0  # an owner says less than an adjective
    if before and before.tag == "DET" and not before.closes:
        score += {"a": 1.0, "an": 1.0, "the": 0.8}.get(before.word, 0.5)
    if run[0].tag in ("ADJ", "ED", "ING"):
        score += 0.7
    if any(t.tag in ("NOUN", "NAME") and re.search(r"'s?$", t.word) for t in run[:-1]):
        score += 0.5
    score += 0.9 if classes(head.word) & {"NOUN", "NOUNS"} else 0.0
    score += 0.7 * min(2, counts[_stem(head.word)] - 1)
    score += 0.6 if 2 <= count_syllables(" ".join(t.bare for t in run)) <= 5 else 0.0
    return score - _paleness(run)


def _paleness(run: Sequence[Token]) -> float:
    pale_nouns, pale_adjectives = word_list("pale_nouns"), word_list("pale_adjectives")
    cost = 1.8 if run[-1].word in pale_nouns else 0.0
    cost += sum(1.0 for t in run[:-1] if t.word in pale_nouns or t.tag == "NUM")
    cost += sum(2.0 for t in run if t.word in pale_adjectives)
    if re.search(r"(?:ness|ment|tion|ity|ism)$", run[-1].word):
        cost += 0.8  # what can be seen sings better than what can only be thought
    if re.search(r"(?:day|uary)$|^(?:march|april|june|july|august)$", run[-1].word) and run[-1].tag == "NAME":
        cost += 1.0
    return cost


def _without_noun(text: str) -> Hook | None:
    """A narrative without a noun phrase we can see: a short clause, else its best word of an open class."""
    words = [t for s in sentences(text) for t in tokens(s)]
    usable = [t for t in words if _sayable(t) and not is_function_word(t.word)]
    if not usable:
        return None
    lines = [re.sub(r"^(?:I am|I'm) ", "", c.text).rstrip("!?") for c in clauses(text)]
    if any(t.tag in ("VERB", "ED", "ING") for t in words) and all(
        _sayable(t) or is_function_word(t.word) for t in words
    ):
        lines = [" ".join(t.bare for t in words), *lines]  # "I miss you" is its own title
    short = [c for c in lines if count_syllables(c) <= _MAX_SYLLABLES and len(c) <= _MAX_CHARACTERS]
    if short:
        return Hook(title_case(short[0]), _low(short[0]))
    best = max(usable, key=lambda t: (t.tag in ("NOUN", "NAME", "ADJ"), min(len(t.word), 9)))
    return as_hook(best.bare, text)


def _sayable(token: Token) -> bool:
    letters = [c for c in token.word if c.isalpha()]
    latin = bool(re.fullmatch(r"[\w'’-]+", token.bare)) and all(ord(c) < 0x250 for c in letters)
    return latin and bool(re.search(r"[aeiouyà-ÿ]", token.word)) and 2 <= len(letters) <= 20 and token.tag != "NUM"
