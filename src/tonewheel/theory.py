"""Keys, chord symbols and Roman numerals: the little theory that plans, styles and scores share.

Pitches are MIDI note numbers (60 = middle C), pitch classes are 0-11 with C = 0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from tonewheel.errors import InvalidRequest

SHARP_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
FLAT_NAMES = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
_LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}

MODES: dict[str, tuple[int, ...]] = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
}
# The major key that has the same notes decides between sharps and flats.
_RELATIVE_MAJOR = {"major": 0, "minor": 3, "dorian": 10, "mixolydian": 5, "lydian": 7, "phrygian": 8}
_FLAT_MAJORS = {5, 10, 3, 8, 1}


@dataclass(frozen=True, slots=True)
class Key:
    """A tonic and a mode, written `A minor`, `Bb major`, `D dorian`."""

    tonic: int
    mode: str

    @property
    def scale(self) -> tuple[int, ...]:
        """The seven pitch classes, tonic first."""
        return tuple((self.tonic + step) % 12 for step in MODES[self.mode])

    @property
    def names(self) -> tuple[str, ...]:
        """Note names with the accidentals usual in this key."""
        flats = (self.tonic + _RELATIVE_MAJOR[self.mode]) % 12 in _FLAT_MAJORS
        return FLAT_NAMES if flats else SHARP_NAMES

    @property
    def is_minor(self) -> bool:
        """Whether the third is minor (minor, dorian, phrygian)."""
        return MODES[self.mode][2] == 3

    def __str__(self) -> str:
        return f"{self.names[self.tonic]} {self.mode}"


_KEY = re.compile(r"^\s*([A-Ga-g])\s*([#♯b♭]|sharp|flat)?[\s_-]*([a-z]*)\s*$", re.IGNORECASE)
_MODE_WORDS = {
    "": "major", "maj": "major", "m": "minor", "min": "minor", "moll": "minor", "dur": "major",
    "ionian": "major", "aeolian": "minor",
}  # fmt: skip


def parse_key(text: str) -> Key:
    """Read `A minor`, `Am`, `F# major`, `Bb`, `D dorian`. Raises InvalidRequest."""
    m = _KEY.match(text)
    mode = ""
    if m:
        word = m.group(3)
        mode = "major" if word == "M" else _MODE_WORDS.get(word.lower(), word.lower())
    if not m or mode not in MODES:
        raise InvalidRequest(
            f"key {text[:40]!r} cannot be read: write a note and a mode, such as 'A minor' or 'Eb major' "
            f"(modes: {', '.join(MODES)})",
            param="key",
        )
    return Key(_pitch_class(m.group(1), m.group(2)), mode)


def _pitch_class(letter: str, accidental: str | None) -> int:
    shift = {"#": 1, "♯": 1, "sharp": 1, "b": -1, "♭": -1, "flat": -1}.get((accidental or "").lower(), 0)
    return (_LETTERS[letter.upper()] + shift) % 12


# Chord qualities: suffix -> semitones above the root, in thirds. The first spelling of a set is
# the one we write; the others are read too.
QUALITIES: dict[str, tuple[int, ...]] = {
    "": (0, 4, 7),
    "m": (0, 3, 7),
    "5": (0, 7),
    "dim": (0, 3, 6),
    "aug": (0, 4, 8),
    "sus2": (0, 2, 7),
    "sus4": (0, 5, 7),
    "6": (0, 4, 7, 9),
    "m6": (0, 3, 7, 9),
    "7": (0, 4, 7, 10),
    "maj7": (0, 4, 7, 11),
    "m7": (0, 3, 7, 10),
    "mmaj7": (0, 3, 7, 11),
    "m7b5": (0, 3, 6, 10),
    "dim7": (0, 3, 6, 9),
    "7sus4": (0, 5, 7, 10),
    "7b9": (0, 4, 7, 10, 13),
    "7#9": (0, 4, 7, 10, 15),
    "7#5": (0, 4, 8, 10),
    "7b5": (0, 4, 6, 10),
    "7#11": (0, 4, 7, 10, 18),
    "maj7#5": (0, 4, 8, 11),
    "add9": (0, 4, 7, 14),
    "madd9": (0, 3, 7, 14),
    "6/9": (0, 4, 7, 9, 14),
    "m6/9": (0, 3, 7, 9, 14),
    "9": (0, 4, 7, 10, 14),
    "maj9": (0, 4, 7, 11, 14),
    "m9": (0, 3, 7, 10, 14),
    "9sus4": (0, 5, 7, 10, 14),
    "11": (0, 7, 10, 14, 17),
    "m11": (0, 3, 7, 10, 14, 17),
    "maj7#11": (0, 4, 7, 11, 18),
    "13": (0, 4, 7, 10, 14, 21),
    "maj13": (0, 4, 7, 11, 14, 21),
    "m13": (0, 3, 7, 10, 14, 21),
}
_SPELLINGS = {
    "maj": "", "M": "", "min": "m", "-": "m", "°": "dim", "o": "dim", "+": "aug", "sus": "sus4",
    "M7": "maj7", "Δ": "maj7", "Δ7": "maj7", "ma7": "maj7", "min7": "m7", "-7": "m7", "mM7": "mmaj7",
    "ø": "m7b5", "ø7": "m7b5", "min7b5": "m7b5", "-7b5": "m7b5", "°7": "dim7", "o7": "dim7", "7sus": "7sus4",
    "+7": "7#5", "aug7": "7#5", "2": "add9", "add2": "add9", "69": "6/9", "M9": "maj9", "min9": "m9", "-9": "m9",
    "9sus": "9sus4", "min11": "m11", "min6": "m6", "M13": "maj13",
    "m69": "m6/9", "min7(b5)": "m7b5", "mi7": "m7", "mi": "m", "ma9": "maj9", "M7#5": "maj7#5", "dom7": "7",
    "7alt": "7#9", "alt": "7#9", "min13": "m13", "sus9": "9sus4", "m2": "madd9", "madd2": "madd9",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chord:
    """A root, a quality and, where it differs from the root, a bass note (pitch classes)."""

    root: int
    quality: str
    bass: int

    @property
    def pitch_classes(self) -> tuple[int, ...]:
        """Pitch classes from the root upwards, as stacked in thirds."""
        return tuple((self.root + i) % 12 for i in QUALITIES[self.quality])

    @property
    def is_minor(self) -> bool:
        return 3 in QUALITIES[self.quality] and 4 not in QUALITIES[self.quality]

    def symbol(self, names: tuple[str, ...] = SHARP_NAMES) -> str:
        slash = "" if self.bass == self.root else f"/{names[self.bass]}"
        return f"{names[self.root]}{self.quality}{slash}"


_CHORD = re.compile(r"^([A-G])([#♯b♭]?)(.*?)(?:/([A-G])([#♯b♭]?))?$")


@lru_cache(maxsize=2048)
def parse_chord(symbol: str) -> Chord:
    """Read a chord symbol such as `Am7`, `F#m7b5`, `C/E`, `Gsus4`. Raises InvalidRequest."""
    m = _CHORD.match(symbol.strip())
    quality = _quality(m.group(3)) if m else None
    if not m or quality is None:
        raise InvalidRequest(
            f"chord {symbol[:24]!r} cannot be read: write a root and a quality, such as C, Am7, F#m7b5, Gsus4 or C/E",
            param="chords",
        )
    root = _pitch_class(m.group(1), m.group(2))
    bass = _pitch_class(m.group(4), m.group(5)) if m.group(4) else root
    return Chord(root, quality, bass)


def _quality(suffix: str) -> str | None:
    """The quality a suffix spells, brackets or not: `maj7`, `M7`, `(add9)`; None for one we do not know."""
    for text in (suffix.strip(), re.sub(r"[\s()]", "", suffix)):
        quality = _SPELLINGS.get(text, text)
        if quality in QUALITIES:
            return quality
    return None


def _minor_quality(suffix: str) -> str | None:
    """The quality of a lower-case numeral: the case says minor, so `7` is a minor seventh; suffixes without
    a major third (`ø7`, `°`, `sus4`, `m9`) stay; those that insist on one contradict it."""
    text = re.sub(r"[\s()]", "", suffix)
    spelled = _SPELLINGS.get(text, text)
    if f"m{spelled}" in QUALITIES:
        return f"m{spelled}"
    return spelled if spelled in QUALITIES and 4 not in QUALITIES[spelled] else None


_DEGREES = {"i": 0, "ii": 1, "iii": 2, "iv": 3, "v": 4, "vi": 5, "vii": 6}
_ROMAN = re.compile(r"^([b#]?)(vii|vi|iv|v|iii|ii|i)(.*?)(?:/([b#]?)([1-7]))?$", re.IGNORECASE)


@lru_cache(maxsize=4096)
def roman_chord(numeral: str, key: Key) -> Chord:
    """A Roman numeral in a key as a chord.

    Upper case is major, lower case minor; the suffix is a chord quality (`ii7` is a minor seventh,
    `V7`, `IVmaj7`, `vii°`, `iiø7`, `V7sus4`, `IVadd9`); degrees are those of the key's own mode
    (in minor, `VI` is the major chord on the minor sixth and `VII` that on the minor seventh);
    a leading `b` or `#` alters the degree by a semitone from there; `/3` puts degree 3 in the bass.
    Raises InvalidRequest.
    """
    m = _ROMAN.match(numeral.strip())
    quality = None
    if m:
        quality = _minor_quality(m.group(3)) if m.group(2).islower() else _quality(m.group(3))
    if not m or quality is None:
        raise InvalidRequest(
            f"Roman numeral {numeral[:24]!r} cannot be read: write such as i, IVmaj7, ii7, V7, bVII",
            param="progressions",
        )
    scale = key.scale
    root = (scale[_DEGREES[m.group(2).lower()]] + _alter(m.group(1))) % 12
    bass = (scale[int(m.group(5)) - 1] + _alter(m.group(4))) % 12 if m.group(5) else root
    return Chord(root, quality, bass)


def _alter(sign: str | None) -> int:
    return {"b": -1, "#": 1}.get(sign or "", 0)


def bar_chords(entry: str) -> list[str]:
    """The chord symbols of one bar: `C` is one, `C|G` two that share the bar equally."""
    return [part.strip() for part in entry.split("|") if part.strip()]
