"""What the words of a section ask of the arrangement: `no drums`, `only piano`, `half time`, `sparse`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from tonewheel.styles.instruments import INSTRUMENTS

_ROLE_WORDS = {
    "drum": "drums", "drums": "drums", "percussion": "drums", "beat": "drums", "beats": "drums", "kit": "drums",
    "bass": "bass", "bassline": "bass",
    "melody": "melody", "lead": "melody", "leads": "melody", "vocals": "melody", "vocal": "melody", "voice": "melody",
    "singing": "melody",
    "pad": "pad", "pads": "pad", "chords": "chords", "comping": "chords", "arp": "arpeggio", "arps": "arpeggio",
    "arpeggio": "arpeggio", "arpeggios": "arpeggio", "riser": "effects", "risers": "effects", "effects": "effects",
}  # fmt: skip
_WITHOUT = re.compile(r"\b(?:no|without|minus|drop the|remove(?: the)?)\s+(?:the\s+)?([\w-]+)")
_ONLY = re.compile(r"\b(?:only|just|solo)\s+(?:the\s+|an?\s+)?([\w-]+(?:\s+(?:and|&)\s+[\w-]+)?)")
_MORE = re.compile(r"\b(?:more|bigger|big|heavy|heavier|driving|busy|loud|louder|pounding)\s+(?:the\s+)?([\w-]+)")
_LESS = re.compile(r"\b(?:less|fewer|softer|soft|light|gentle|quiet|quieter|subtle|minimal)\s+(?:the\s+)?([\w-]+)")
_THIN = re.compile(r"\b(?:sparse|minimal|stripped|bare|quiet|intimate|calm|hushed|delicate)\b")
_THICK = re.compile(r"\b(?:full|epic|huge|massive|anthemic|dense|intense|explosive|powerful)\b")
_HALF = re.compile(r"\bhalf[ -]?time\b")
_STRONG = re.compile(r"\b(?:busy|heavy|loud|harsh|pounding|big)\b")


@dataclass(frozen=True, slots=True)
class Wishes:
    """`without` and `only` name roles or instruments; the shifts move pattern levels up or down."""

    without: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    shift: int = 0
    drum_shift: int = 0
    half_time: bool = False

    def allows(self, role: str, instrument: str) -> bool:
        """Whether a part of this role and instrument may play."""
        if any(_means(word, role, instrument) for word in self.without):
            return False
        return not self.only or any(_means(word, role, instrument) for word in self.only)


def read_wishes(positive: Iterable[str], negative: Iterable[str]) -> Wishes:
    """The wishes in a section's positive and negative styles; words it does not know have no effect."""
    without: list[str] = []
    only: list[str] = []
    shift = drum_shift = 0
    half = False
    for text in map(str.casefold, positive):
        without += _WITHOUT.findall(text)
        for names in _ONLY.findall(text):
            only += re.split(r"\s+(?:and|&)\s+", names)
        drum_shift += any(_ROLE_WORDS.get(w) == "drums" for w in _MORE.findall(text))
        drum_shift -= any(_ROLE_WORDS.get(w) == "drums" for w in _LESS.findall(text))
        shift += bool(_THICK.search(text)) - bool(_THIN.search(text))
        half = half or bool(_HALF.search(text))
    for text in map(str.casefold, negative):
        words = [w for w in re.findall(r"[\w-]+", text) if w in _ROLE_WORDS]
        if _STRONG.search(text):
            drum_shift -= any(_ROLE_WORDS[w] == "drums" for w in words)
            shift -= not words
        else:
            without += words
            shift += bool(_THIN.search(text)) - bool(_THICK.search(text))
    known = {w for w in only if _is_known(w)}
    return Wishes(
        tuple(dict.fromkeys(without)),
        tuple(w for w in dict.fromkeys(only) if w in known),
        max(-2, min(2, shift)),
        max(-2, min(2, drum_shift)),
        half,
    )


def _is_known(word: str) -> bool:
    return word in _ROLE_WORDS or any(word in _names(i) for i in INSTRUMENTS)


def _means(word: str, role: str, instrument: str) -> bool:
    if word in _ROLE_WORDS:
        return _ROLE_WORDS[word] == role
    return word in _names(instrument)


def _names(instrument: str) -> set[str]:
    info = INSTRUMENTS.get(instrument)
    if info is None:
        return set()
    text = " ".join((info.title, info.family, *info.aliases)).casefold()
    words = set(re.findall(r"[\w-]+", text))
    return words | {w + "s" for w in words}
