"""Which language a text is in: by script, then by function words. English is what lyrics can be written in."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from tonewheel.errors import UnknownName
from tonewheel.songs.resources import data
from tonewheel.songs.text import words

UNDETERMINED = "und"
_CODE = re.compile(r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")
_ENOUGH_WORDS = 12  # English prose of this length always has function words


def is_english(code: str) -> bool:
    """Whether a BCP 47 code names English of any region."""
    return code.split("-", maxsplit=1)[0] == "en"


def language_name(code: str) -> str:
    """`de-AT` → `German`; a code without a name here is returned as it is."""
    return str(data("languages")["names"].get(code.split("-", maxsplit=1)[0], code))


def language_code(text: str) -> str:
    """A BCP 47 code from a code or an English language name. Raises UnknownName."""
    names: dict[str, str] = data("languages")["names"]
    folded = text.strip().casefold()
    for code, name in names.items():
        if folded == name.casefold():
            return code
    lower, _, region = text.strip().replace("_", "-").partition("-")
    code = lower.lower() + (f"-{region}" if region else "")
    if not _CODE.match(code):
        raise UnknownName("language", text, names.values(), param="language")
    return code


def detect_language(text: str, english_words: frozenset[str] = frozenset()) -> str:
    """The BCP 47 code of the language `text` most likely is in; `und` when it is evidently none we know.

    `english_words` are content words that count as English, so that a list of keywords without a
    single function word is still read as English. Text without letters is `en`: it binds nobody.
    """
    script = _by_script(text)
    if script:
        return script
    found = words(text)
    if not found:
        return "en"
    return _by_words(text, found, english_words)


def _by_script(text: str) -> str | None:
    counts: dict[str, int] = {}
    for char in text:
        if char.isalpha():
            code = _script_of(char)
            counts[code] = counts.get(code, 0) + 1
    total = sum(counts.values())
    foreign = {code: n for code, n in counts.items() if code != "latin"}
    if not total or sum(foreign.values()) < 0.4 * total:
        return None
    if "ja" in foreign:  # kana decide; Han characters are shared with Chinese
        return "ja"
    best = max(foreign, key=lambda code: (foreign[code], code))
    return _neighbour(text, best)


def _neighbour(text: str, code: str) -> str:
    letters: dict[str, str] = data("languages")["letters"]
    family = {"ru": ("uk",), "ar": ("ur", "fa")}.get(code, ())
    for other in family:
        if any(c in text for c in letters[other]):
            return other
    return UNDETERMINED if code == "other" else code


@lru_cache(maxsize=4096)
def _script_of(char: str) -> str:
    point = ord(char)
    for first, last, code in data("languages")["scripts"]:
        if first <= point <= last:
            return str(code)
    return "latin" if "LATIN" in unicodedata.name(char, "LATIN") else "other"


@lru_cache(maxsize=1)
def _latin() -> dict[str, tuple[frozenset[str], str]]:
    table = data("languages")["latin"]
    return {code: (frozenset(row["words"]), row["letters"]) for code, row in table.items()}


def _by_words(text: str, found: list[str], english_words: frozenset[str]) -> str:
    folded = text.casefold()
    scores: dict[str, float] = {}
    for code, (function_words, letters) in _latin().items():
        hits = sum(w in function_words for w in found)
        scores[code] = hits + 1.5 * sum(folded.count(c) > 0 for c in letters)
    content = sum(w in english_words for w in found)
    english = scores.pop("en") + 0.8 * content
    best = max(scores, key=lambda code: (scores[code], code))
    # Short texts need two signs before English is given up; a tie is English.
    if scores[best] > english and scores[best] >= 2:
        return best
    if english == 0 and len(found) >= _ENOUGH_WORDS:
        return best if scores[best] > 0 else UNDETERMINED
    return "en"
