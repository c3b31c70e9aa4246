"""The song plan: what is to be made, before any model makes it.

One type for every planner and every model. It is strict: an unknown field, a chord that cannot be
read, or sections that do not fill the length are errors that name the place. The published JSON
schema is `docs/song-plan.schema.json`.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from tonewheel.errors import InvalidRequest
from tonewheel.theory import Key, bar_chords, parse_chord, parse_key

MIN_DURATION_S = 10.0
MAX_DURATION_S = 600.0
MAX_SEED = 2**63 - 1  # fits a signed 64-bit integer in every store and client

SectionRole = Literal[
    "intro", "verse", "pre-chorus", "chorus", "bridge", "instrumental", "solo", "break", "build", "drop", "outro"
]
# Words of a label that decide its role; first match wins, so the longer phrases come first.
_ROLE_WORDS: tuple[tuple[str, SectionRole], ...] = (
    ("pre-chorus", "pre-chorus"), ("prechorus", "pre-chorus"), ("pre chorus", "pre-chorus"), ("pre", "pre-chorus"),
    ("post-chorus", "chorus"), ("intro", "intro"), ("verse", "verse"), ("strophe", "verse"),
    ("chorus", "chorus"), ("refrain", "chorus"), ("hook", "chorus"), ("theme", "chorus"), ("bridge", "bridge"),
    ("middle", "bridge"), ("interlude", "instrumental"), ("instrumental", "instrumental"), ("inst", "instrumental"),
    ("solo", "solo"),
    ("break", "break"), ("build", "build"), ("rise", "build"), ("drop", "drop"), ("outro", "outro"),
    ("ending", "outro"), ("end", "outro"), ("coda", "outro"), ("head", "verse"),
)  # fmt: skip


def role_of_label(label: str) -> SectionRole | None:
    """The role a section label names (`Verse 2` → verse), or None when it names none we know.

    The first word decides (`Chorus break` is a chorus); failing that any word (`Guitar solo`, `Final Chorus`).
    """
    text = label.casefold().strip()
    for pattern, role in _role_patterns():
        if pattern.match(text):
            return role
    return next((role for pattern, role in _role_patterns() if pattern.search(text)), None)


@lru_cache(maxsize=1)
def _role_patterns() -> tuple[tuple[re.Pattern[str], SectionRole], ...]:
    return tuple((re.compile(rf"\b{re.escape(word)}\b"), role) for word, role in _ROLE_WORDS)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True, allow_inf_nan=False)


# One line of text as it may be sung or shown: no control characters, no line breaks.
Line = Annotated[str, StringConstraints(max_length=300, pattern=r"^[^\x00-\x1f\x7f\u2028\u2029]*$")]
Word = Annotated[str, StringConstraints(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f\x7f\u2028\u2029]*$")]


class Instrument(_Strict):
    """An instrument and what it does in the song."""

    instrument: Word = Field(
        description="Name, such as 'electric piano' or 'drawbar organ'.", examples=["electric piano"]
    )
    role: Literal["drums", "bass", "chords", "pad", "arpeggio", "lead", "melody", "counter", "effects"] = Field(
        description="What it plays."
    )


class Section(_Strict):
    """A part of the song: where it stands, what is sung, which chords carry it."""

    id: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")] = Field(
        description="Unique in the song.", examples=["verse-1"]
    )
    label: Word = Field(description="As written above the lyrics.", examples=["Verse 1"])
    duration_s: float = Field(gt=0, le=MAX_DURATION_S, description="Seconds.")
    energy: float = Field(default=0.5, ge=0, le=1, description="0 = barely there, 1 = everything plays.")
    lyrics: tuple[Line, ...] = Field(default=(), max_length=200, description="Lines sung; empty = instrumental.")
    chords: tuple[Annotated[str, StringConstraints(max_length=80)], ...] = Field(
        default=(),
        max_length=400,
        description="One entry a bar; 'C|G' shares a bar; a shorter list repeats. Empty = the composer chooses.",
        examples=[["Am7", "Fmaj7", "C", "G"]],
    )
    positive_styles: tuple[Line, ...] = Field(default=(), max_length=50, description="What to have more of here.")
    negative_styles: tuple[Line, ...] = Field(default=(), max_length=50, description="What to avoid here.")

    @field_validator("chords")
    @classmethod
    def _readable(cls, chords: tuple[str, ...]) -> tuple[str, ...]:
        for bar, entry in enumerate(chords, 1):
            names = bar_chords(entry)
            if not names:
                raise ValueError(f"bar {bar} has no chord")
            for name in names:
                try:
                    parse_chord(name)
                except InvalidRequest as e:
                    raise ValueError(f"bar {bar}: {e}") from None
        return chords

    @property
    def role(self) -> SectionRole:
        """The role its label names; a label that names none is a verse."""
        return role_of_label(self.label) or "verse"


class SongPlan(_Strict):
    """A whole song: title, words, harmony, form and sound, filling its length exactly."""

    title: Word = Field(examples=["Lanterns on the Water"])
    artist: Word = Field(default="Tonewheel")
    language: str = Field(
        default="en", pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$", description="BCP 47, of the lyrics."
    )
    genre: Word = Field(description="A style of this server or a genre in words.", examples=["lo-fi hip hop"])
    moods: tuple[Word, ...] = Field(default=(), max_length=12, examples=[["peaceful", "melancholic"]])
    tempo: float = Field(
        ge=30, le=300, description="Beats per minute; a beat is the lower figure of the time signature."
    )
    time_signature: str = Field(default="4/4", pattern=r"^([2-9]|1[0-2])/(4|8)$")
    key: str = Field(description="Tonic and mode.", examples=["A minor"])
    instrumentation: tuple[Instrument, ...] = Field(default=(), max_length=32)
    duration_s: float = Field(ge=MIN_DURATION_S, le=MAX_DURATION_S, description="Seconds; the sections add up to it.")
    sections: tuple[Section, ...] = Field(min_length=1, max_length=100)
    seed: int = Field(ge=0, le=MAX_SEED)
    narrative: Annotated[str, StringConstraints(max_length=4000)] | None = Field(
        default=None, description="What the plan was made from."
    )
    planner: Word | None = Field(default=None, description="Which planner made it.", examples=["template"])
    notes: tuple[str, ...] = Field(default=(), description="What the planner wants the reader to know.")

    @field_validator("key")
    @classmethod
    def _key(cls, key: str) -> str:
        try:
            return str(parse_key(key))
        except InvalidRequest as e:
            raise ValueError(str(e)) from None

    @model_validator(mode="after")
    def _consistent(self) -> SongPlan:
        seen: set[str] = set()
        for s in self.sections:
            if s.id in seen:
                raise ValueError(f"section id {s.id!r} is used twice: give each section its own")
            seen.add(s.id)
        total = sum(s.duration_s for s in self.sections)
        if abs(total - self.duration_s) > self.bar_s:
            raise ValueError(
                f"the sections last {total:.2f} s but duration_s is {self.duration_s:.2f} s: "
                f"make them agree within one bar ({self.bar_s:.2f} s)"
            )
        return self

    @property
    def meter(self) -> tuple[int, int]:
        """Beats a bar and the note value of a beat."""
        upper, lower = self.time_signature.split("/")
        return int(upper), int(lower)

    @property
    def quarters_per_bar(self) -> Fraction:
        """Length of a bar in quarter notes (3/4 → 3, 6/8 → 3)."""
        upper, lower = self.meter
        return Fraction(upper * 4, lower)

    @property
    def bar_s(self) -> float:
        """Length of a bar in seconds."""
        return self.meter[0] * 60.0 / self.tempo

    @property
    def parsed_key(self) -> Key:
        return parse_key(self.key)

    @property
    def is_instrumental(self) -> bool:
        return not any(s.lyrics for s in self.sections)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, without fields that are None."""
        return self.model_dump(mode="json", exclude_none=True)
