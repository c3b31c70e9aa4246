"""Text as users send it, made safe: normal form, no invisible characters, folded whitespace, capped size.

Size is looked at before anything else, so that ten megabytes cost nothing. Emoji and every script
stay; what cannot be seen or would turn a line around (control characters, zero-width characters,
bidirectional overrides, lone surrogates) goes.
"""

from __future__ import annotations

import re
import unicodedata

MAX_NARRATIVE = 4000
MAX_LYRICS = 20_000
# Raw text may be this much longer than what is left of it after cleaning (indentation, zero-width characters).
_RAW_FACTOR = 4

# Joiners carry meaning inside Arabic and Indic words and inside emoji sequences, nowhere else.
_JOINABLE = "\u0600-\u0dff\u1780-\u17ff\u2190-\u2bff\ufe0f\U0001f000-\U0001faff"
_JOINER = re.compile(rf"(?<=[{_JOINABLE}])[\u200c\u200d](?=[{_JOINABLE}])")
_BREAKS = re.compile(r"\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_BLANKS = re.compile(r"[^\S\n]+")
_LINES = re.compile(r" ?\n[ \n]*")
_WORD = re.compile(r"[^\W\d_]+(?:['’\-][^\W\d_]+)*")
_SENTENCE = re.compile(r"(?<=[.!?…。！？])[\"'”’)\]]*\s+|\n+|(?<=[。！？])")


def visible(text: str) -> str:
    """`text` in NFC without characters that cannot be seen; line breaks of every kind become `\\n`."""
    text = _BREAKS.sub("\n", text)
    kept = _JOINER.sub(lambda m: "\ue000" if m.group() == "\u200c" else "\ue001", text.translate(_NO_PRIVATE))
    out = "".join(c for c in kept if c in "\n\t\ue000\ue001" or unicodedata.category(c) not in _INVISIBLE)
    return unicodedata.normalize("NFC", out.replace("\ue000", "\u200c").replace("\ue001", "\u200d"))


_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn"}
_NO_PRIVATE = {0xE000: None, 0xE001: None}  # our own marks while cleaning


def check_size(text: str, what: str, limit: int) -> None:
    """Raises ValueError when `text` cannot come under `limit` characters; looks only at its length."""
    if len(text) > limit * _RAW_FACTOR:
        raise ValueError(_too_long(what, len(text), limit))


def _too_long(what: str, count: int, limit: int) -> str:
    return f"the {what} has {count:,} characters, at most {limit:,}: shorten it"


def clean_text(text: str, what: str = "text", limit: int = MAX_NARRATIVE) -> str:
    """Running text: spaces folded, blank lines gone, edges stripped. Raises ValueError when too long or empty."""
    check_size(text, what, limit)
    folded = _LINES.sub("\n", _BLANKS.sub(" ", visible(text))).strip()
    if len(folded) > limit:
        raise ValueError(_too_long(what, len(folded), limit))
    if not _has_content(folded):
        raise ValueError(f"the {what} is empty: write at least one word")
    return folded


def clean_lyrics(text: str, what: str = "lyrics", limit: int = MAX_LYRICS) -> str:
    """Lyrics: every line kept word for word and in place, blank lines too. Raises ValueError like `clean_text`."""
    check_size(text, what, limit)
    lines = "\n".join(_BLANKS.sub(" ", line).strip() for line in visible(text).split("\n")).strip("\n")
    if len(lines) > limit:
        raise ValueError(_too_long(what, len(lines), limit))
    if not _has_content(lines):
        raise ValueError(f"the {what} are empty: write at least one line")
    return lines


def _has_content(text: str) -> bool:
    return any(not c.isspace() and unicodedata.category(c)[0] != "M" for c in text)


def clean_name(text: str, what: str, limit: int = 80) -> str:
    """A title or a name: one line. Raises ValueError when too long or empty."""
    return clean_text(text, what, limit).replace("\n", " ")


def words(text: str) -> list[str]:
    """The words of a text, case-folded, apostrophes straightened; digits and signs left out."""
    return [w.replace("’", "'").casefold() for w in _WORD.findall(text)]


def sentences(text: str) -> list[str]:
    """The sentences of a cleaned text; a line break ends one too."""
    return [s.strip() for s in _SENTENCE.split(text) if s and s.strip()]


def clip(text: str, limit: int) -> str:
    """`text` cut at a word to at most `limit` characters, without hanging punctuation."""
    if len(text) <= limit:
        return text
    cut = text[:limit]
    head, space, _ = cut.rpartition(" ")
    return (head if space and len(head) >= limit // 3 else cut).rstrip(" ,;:-–—")
