"""What a style file says: everything a genre is made of, as data.

One YAML file a style; users add their own in a folder (`TONEWHEEL_STYLES_DIR`). The patterns are
step strings, one character a step, `steps` steps a bar (16 in 4/4, 12 in 3/4); a pattern may be
1, 2 or 4 bars long, and spaces and `|` in it are only for the eye.

drum rows   digits 1-9 = velocity, `.` = nothing
bass rows   R root  3 third  5 fifth  6 sixth  7 seventh  8 octave  a = approach to the next chord's root
            w = walk (a chord or scale tone on the way to the next root)  x = muted ghost note
            `-` holds the note before, `.` is silence; lower-case r plays the root softly
comp rows   X whole chord, accented   x whole chord, soft   d / u strum down / up   b lowest note alone
            h = upper notes without the lowest   1-8 = note of the voicing, low to high, going on in the next
            octave   `-` holds, `.` silence

A hold that crosses a chord change is struck again with the new chord; a stroke at most an eighth before the
change that is held into it is a push and sounds the new chord at once. Of several patterns a section plays one
in its first half and another in its second, the same kind of section beginning with the same one.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from tonewheel.errors import InvalidRequest
from tonewheel.styles.instruments import DRUM_VOICES, INSTRUMENTS
from tonewheel.theory import MODES, Key, bar_chords, roman_chord

Level = Literal["low", "mid", "high"]
LEVELS: tuple[Level, ...] = ("low", "mid", "high")
SectionKind = Literal["intro", "verse", "pre-chorus", "chorus", "bridge", "instrumental", "outro"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _squeeze(pattern: str) -> str:
    return re.sub(r"[\s|]", "", pattern)


def _of(alphabet: str) -> AfterValidator:
    def check(pattern: str) -> str:
        squeezed = _squeeze(pattern)
        if not squeezed or re.sub(f"[{alphabet}]", "", squeezed):
            raise ValueError(f"a step string may hold only [{alphabet}], got {pattern!r}")
        return squeezed

    return AfterValidator(check)


DrumRow = Annotated[str, _of(r"1-9.")]
BassRow = Annotated[str, _of(r"Rr35678awx.\-")]
CompRow = Annotated[str, _of(r"Xxdubh1-8.\-")]
# A drum groove: voice -> row.
Groove = dict[str, DrumRow]


def _instrument(name: str) -> str:
    if name not in INSTRUMENTS:
        raise ValueError(f"unknown instrument {name!r}; known: {', '.join(INSTRUMENTS)}")
    return name


InstrumentId = Annotated[str, AfterValidator(_instrument)]


class TempoRange(_Strict):
    """Beats per minute."""

    min: float = Field(ge=30, le=300)
    max: float = Field(ge=30, le=300)
    default: float = Field(ge=30, le=300)

    @model_validator(mode="after")
    def _ordered(self) -> TempoRange:
        if not self.min <= self.default <= self.max:
            raise ValueError("tempo must have min <= default <= max")
        return self


class PartMix(_Strict):
    """Where a part stands in the mix."""

    loudness: float = Field(default=-6, ge=-40, le=0, description="K-weighted, LU relative to the loudest part (0).")
    pan: float = Field(default=0, ge=-1, le=1)
    width: float = Field(default=1, ge=0, le=2, description="Stereo width of the stem; 0 = mono.")
    reverb: float = Field(default=0.15, ge=0, le=1, description="Send to the shared room.")
    delay: float = Field(default=0, ge=0, le=1, description="Send to the tempo delay.")
    duck: float = Field(default=0, ge=0, le=18, description="dB of side-chain under each kick.")
    highpass: float = Field(default=0, ge=0, le=2000, description="Hz; 0 = off.")
    lowpass: float = Field(default=0, ge=0, le=20000, description="Hz; 0 = off.")
    drive: float = Field(default=0, ge=0, le=1, description="Saturation.")


class _Layer(_Strict):
    """When a part plays: within the energies given, and in the sections named (none = all)."""

    enter: float = Field(default=0, ge=0, le=1, description="Silent in sections of less energy than this.")
    leave: float = Field(default=1, ge=0, le=1, description="Silent in sections of more energy than this.")
    sections: tuple[SectionKind, ...] = ()
    mix: PartMix = PartMix()
    offset_ms: float = Field(default=0, ge=-40, le=60, description="Late (+) or early (-) against the grid.")


class Drums(_Layer):
    """Grooves at three levels with variants; fills take the last bar (or its second half) of a section."""

    kit: InstrumentId
    levels: dict[Level, list[Groove]]
    fills: list[Groove] = Field(min_length=1)
    offsets_ms: dict[str, float] = Field(default_factory=dict, description="Per voice, beside offset_ms.")
    crash: bool = Field(default=True, description="A crash on the first beat of loud sections.")

    @field_validator("levels", "fills")
    @classmethod
    def _voices(cls, value: dict[Level, list[Groove]] | list[Groove]) -> dict[Level, list[Groove]] | list[Groove]:
        grooves = value if isinstance(value, list) else [g for group in value.values() for g in group]
        for groove in grooves:
            for voice in groove:
                if voice not in DRUM_VOICES:
                    raise ValueError(f"unknown drum voice {voice!r}; known: {', '.join(DRUM_VOICES)}")
        return value


class Bass(_Layer):
    instrument: InstrumentId
    low: int = Field(default=28, ge=12, le=60, description="Lowest MIDI note.")
    high: int = Field(default=50, ge=24, le=72)
    levels: dict[Level, list[BassRow]]
    glide: float = Field(default=0, ge=0, le=1, description="Portamento between joined notes (808, reese).")


class Comp(_Layer):
    """A part made from the chords: comping, pads, arpeggios, riffs."""

    id: str = Field(pattern=r"^[a-z0-9_]+$")
    role: Literal["chords", "pad", "arpeggio", "counter"]
    instrument: InstrumentId
    low: int = Field(ge=24, le=96, description="Register of the voicing, MIDI notes.")
    high: int = Field(ge=36, le=108)
    voices: int = Field(default=4, ge=1, le=6)
    strum_ms: float = Field(default=0, ge=0, le=60, description="Spread of a chord's notes.")
    legato: bool = Field(default=False, description="Holds notes common to neighbouring chords.")
    levels: dict[Level, list[CompRow]]


class Melody(_Layer):
    """The tune. It follows the syllables of the lyrics; without lyrics it follows invented ones."""

    instrument: InstrumentId
    chorus_instrument: InstrumentId | None = None
    low: int = Field(ge=45, le=90)
    high: int = Field(ge=55, le=100)
    chorus_lift: int = Field(default=3, ge=0, le=12, description="Semitones the chorus lies higher.")
    steps_per_beat: Literal[2, 3, 4] = Field(default=2, description="Rhythm grid.")
    bars_per_line: Literal[1, 2, 4] = 2
    syncopation: float = Field(default=0.3, ge=0, le=1)
    density: float = Field(default=0.5, ge=0, le=1, description="How many notes a line has when there are no lyrics.")
    doubled_in_chorus: bool = Field(default=False, description="An octave or third joins in the chorus.")


class Space(_Strict):
    """The shared room and the tempo delay."""

    decay_s: float = Field(default=1.6, ge=0.1, le=8)
    predelay_ms: float = Field(default=15, ge=0, le=120)
    brightness: float = Field(default=0.5, ge=0, le=1)
    delay_beats: float = Field(default=0.75, ge=0.125, le=4)
    delay_feedback: float = Field(default=0.35, ge=0, le=0.85)


class Master(_Strict):
    """The sum: saturation, tape, dust, tilt, compression."""

    saturation: float = Field(default=0.15, ge=0, le=1)
    tape_wow: float = Field(default=0, ge=0, le=1)
    crackle: float = Field(default=0, ge=0, le=1)
    tilt_db: float = Field(default=0, ge=-6, le=6, description="Brighter (+) or darker (-) at 10 kHz.")
    compression: float = Field(default=0.4, ge=0, le=1)
    lowpass: float = Field(default=0, ge=0, le=20000, description="Hz; 0 = off.")


Bars = Annotated[tuple[str, ...], Field(min_length=1, max_length=16)]
# mode -> section kind ("verse", "chorus", ... or "cadence") -> alternatives, each a list of bars
Progressions = dict[str, dict[str, list[Bars]]]


class Style(_Strict):
    """A genre as data."""

    id: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    title: str = Field(min_length=1, max_length=60)
    description: str = Field(min_length=1, max_length=300, description="One sentence a listener understands.")
    aliases: tuple[str, ...] = ()
    keywords: tuple[str, ...] = Field(default=(), description="Words of a narrative that ask for this style.")
    moods: tuple[str, ...] = Field(min_length=1, description="Moods it suits, the best first.")
    tempo: TempoRange
    time_signature: Literal["4/4", "3/4"] = "4/4"
    swing: float = Field(default=0.5, ge=0.5, le=0.72, description="Share of the first of two swung steps.")
    swing_steps: Literal[8, 16] = Field(default=16, description="Which notes swing: eighths or sixteenths.")
    humanize: float = Field(default=0.5, ge=0, le=1, description="0 = machine, 1 = loose players.")
    modes: dict[str, float] = Field(description="Mode -> weight.")
    progressions: Progressions
    drums: Drums | None = None
    bass: Bass
    comps: tuple[Comp, ...] = Field(min_length=1)
    melody: Melody
    space: Space = Space()
    master: Master = Master()
    energy: dict[SectionKind, float] = Field(default_factory=dict, description="Typical energy of a section, 0-1.")
    risers: bool = Field(default=False, description="Noise risers and impacts into lifts.")
    lyric_bars: Literal[1, 2, 4] | None = Field(default=None, description="Bars a sung line takes; default melody's.")

    @property
    def beats_per_bar(self) -> int:
        return int(self.time_signature.split("/")[0])

    @property
    def steps_per_bar(self) -> int:
        return self.beats_per_bar * 4

    @model_validator(mode="after")
    def _consistent(self) -> Style:
        self._check_modes()
        rows = [(f"bass.{lv}.{n}", row) for lv, group in self.bass.levels.items() for n, row in enumerate(group)]
        for c in self.comps:
            rows += [(f"comps.{c.id}.{lv}.{n}", row) for lv, group in c.levels.items() for n, row in enumerate(group)]
        if self.drums:
            grooves = [(f"drums.{lv}.{n}", g) for lv, group in self.drums.levels.items() for n, g in enumerate(group)]
            grooves += [(f"drums.fills.{n}", g) for n, g in enumerate(self.drums.fills)]
            rows += [(f"{where}.{voice}", row) for where, g in grooves for voice, row in g.items()]
        for where, row in rows:
            bars, rest = divmod(len(row), self.steps_per_bar)
            if rest or bars not in (1, 2, 4):
                raise ValueError(f"{where}: {len(row)} steps; must be 1, 2 or 4 bars of {self.steps_per_bar}")
        levels = [("bass", self.bass.levels), *((c.id, c.levels) for c in self.comps)]
        for name, by_level in levels:
            if not all(by_level.get(level) for level in LEVELS):
                raise ValueError(f"{name}: give patterns for low, mid and high")
        if self.drums and not all(self.drums.levels.get(level) for level in LEVELS):
            raise ValueError("drums: give grooves for low, mid and high")
        if len({c.id for c in self.comps}) < len(self.comps):
            raise ValueError("comps: each needs its own id")
        return self

    def _check_modes(self) -> None:
        for mode in self.modes:
            if mode not in MODES:
                raise ValueError(f"unknown mode {mode!r}; known: {', '.join(MODES)}")
            by_kind = self.progressions.get(mode, {})
            for needed in ("verse", "chorus"):
                if not by_kind.get(needed):
                    raise ValueError(f"progressions.{mode}: {needed} is missing")
            for kind, alternatives in by_kind.items():
                for bars in alternatives:
                    for bar in bars:
                        for numeral in bar_chords(bar):
                            try:
                                roman_chord(numeral, Key(0, mode))
                            except InvalidRequest as e:
                                raise ValueError(f"progressions.{mode}.{kind}: {e}") from None
