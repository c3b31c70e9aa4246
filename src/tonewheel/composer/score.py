"""The score: the notes the composer writes, before any sound.

Times are in quarter notes from the start of the song, grooves and micro-timing already in them;
`tempo` is quarter notes a minute. Everything is immutable and ordered, so that equal input gives an
equal score.
"""

from __future__ import annotations

from dataclasses import dataclass

from tonewheel.styles.schema import Master, PartMix, Space


@dataclass(frozen=True, slots=True, order=True)
class Note:
    """`pitch` is a MIDI note (for drums: a General MIDI percussion key), `velocity` 1-127."""

    start: float
    duration: float
    pitch: int
    velocity: int

    @property
    def end(self) -> float:
        return self.start + self.duration


@dataclass(frozen=True, slots=True)
class Part:
    """One player. `brightness` and `level` are breakpoints (quarter, value), linear between them:
    brightness 0-1 opens the sound with the song's energy, level is in dB around 0 (swells)."""

    id: str
    role: str  # drums bass chords pad arpeggio lead melody counter effects
    instrument: str
    notes: tuple[Note, ...]
    mix: PartMix
    brightness: tuple[tuple[float, float], ...] = ((0.0, 0.6),)
    level: tuple[tuple[float, float], ...] = ((0.0, 0.0),)
    glide: float = 0.0


@dataclass(frozen=True, slots=True)
class ScoreSection:
    """Where a section of the plan lies on the time line, whole bars."""

    id: str
    label: str
    role: str
    start: float
    quarters: float
    energy: float


@dataclass(frozen=True, slots=True)
class SungSyllable:
    """A syllable on a melody note; `line_start` and `word_start` let a lyric file be written from them."""

    start: float
    duration: float
    text: str
    word_start: bool
    line_start: bool
    line: int  # index of the line in the song


@dataclass(frozen=True, slots=True)
class ChordSpan:
    start: float
    duration: float
    symbol: str


@dataclass(frozen=True, slots=True)
class Score:
    """A whole song in notes; `duration_s` is the exact length of its audio."""

    title: str
    style: str
    tempo: float  # quarter notes a minute
    quarters_per_bar: float
    time_signature: str
    key: str
    seed: int
    duration_s: float
    sections: tuple[ScoreSection, ...]
    chords: tuple[ChordSpan, ...]
    parts: tuple[Part, ...]
    syllables: tuple[SungSyllable, ...]
    space: Space
    master: Master

    @property
    def quarter_s(self) -> float:
        return 60.0 / self.tempo

    @property
    def kicks(self) -> tuple[float, ...]:
        """Quarters at which a kick drum sounds, for the side-chain."""
        return tuple(n.start for p in self.parts if p.role == "drums" for n in p.notes if n.pitch in (35, 36))
