"""What a search for words compares: letters and digits, without case, accents or punctuation."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

MOST_WORDS = 12


def fold(text: str) -> str:
    """`Café-Noir` → `cafe noir`."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return " ".join(re.findall(r"[^\W_]+", "".join(c for c in plain if not unicodedata.combining(c))))


def searchable(texts: Iterable[str | None]) -> str:
    """All of it folded, with a space at either end of every word."""
    return f" {' '.join(fold(t) for t in texts if t)} "


def patterns(query: str) -> list[str]:
    """One SQL LIKE pattern a word of the query; a word finds words that begin with it."""
    return [f"% {word}%" for word in dict.fromkeys(fold(query).split())][:MOST_WORDS]
