"""What ACE-Step is asked and what it answers."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field, PrivateAttr, field_validator, model_validator

from tonewheel.errors import InvalidRequest, UnknownName
from tonewheel.models.ace_step.prepared import Prepared
from tonewheel.models.base import Upload
from tonewheel.models.diffusion.request import MAX_PROMPT, DiffusionRequest, DiffusionResponse
from tonewheel.theory import parse_key

MIN_DURATION_S, MAX_DURATION_S = 10.0, 600.0
LANGUAGES = (
    "ar", "az", "bg", "bn", "ca", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "he", "hi", "hr", "ht", "hu",
    "id", "is", "it", "ja", "ko", "la", "lt", "ms", "ne", "nl", "no", "pa", "pl", "pt", "ro", "ru", "sa", "sk", "sr",
    "sv", "sw", "ta", "te", "th", "tl", "tr", "uk", "ur", "vi", "yue", "zh", "unknown",
)  # fmt: skip
TimeSignature = Literal["2/4", "3/4", "4/4", "6/8"]  # those it was trained on
Task = Literal["text2music", "cover", "repaint"]
_BYTES_A_SECOND = 8_000  # of a file at 64 kbit/s: how long an upload may be, before it is decoded


class AceStepRequest(DiffusionRequest):
    """A description, words to sing, tempo, key; perhaps a recording to cover, to repaint, or to sound like."""

    model_config = ConfigDict(extra="forbid")  # no client knows it yet: a typing mistake is told, not ignored

    prompt: str = Field(
        default="",
        max_length=MAX_PROMPT,
        description="What it is to sound like; tempo and key have fields of their own.",
    )
    lyrics: str = Field(
        default="", max_length=20_000,
        description="Words to sing, with [Verse] [Chorus] … on lines of their own; empty = instrumental.",
    )  # fmt: skip
    language: str = Field(default="unknown", description="Of the lyrics: en, zh, ja …; unknown = the model hears it.")
    duration: float = Field(
        default=60.0, ge=MIN_DURATION_S, le=MAX_DURATION_S,
        description="Seconds, exact to the sample. With src_audio: that of the file, unless it is said.",
    )  # fmt: skip
    bpm: int | None = Field(default=None, ge=30, le=300, description="Beats per minute; absent = the model's choice.")
    key: str | None = Field(default=None, max_length=40, description="Such as 'A minor'; absent = the model's choice.")
    time_signature: TimeSignature | None = Field(default=None, description="Absent = the model's choice.")
    num_inference_steps: int | None = Field(
        default=None, ge=1, le=200, description="Absent = what the checkpoint is made for: turbo 8, base and sft 50."
    )
    guidance_scale: float | None = Field(
        default=None, ge=1, le=15,
        description="How closely the words are followed; 1 = no guidance, half the work. Absent = 7; turbo has none.",
    )  # fmt: skip
    shift: float | None = Field(
        default=None, ge=1, le=5, description="Above 1 more steps go to the outline. Absent = turbo 3, base and sft 1."
    )
    num_variations: int = Field(
        default=1, ge=1, le=8, description="So many different songs, each with a seed of its own."
    )
    task: Task = Field(
        default="text2music", description="cover: src_audio in another manner; repaint: a part of src_audio made anew."
    )
    src_audio: Upload | None = Field(default=None, description="The file that is covered or repainted.")
    reference_audio: Upload | None = Field(default=None, description="A file whose timbre the song is to have.")
    cover_strength: float = Field(
        default=1.0, ge=0, le=1, description="How much of src_audio a cover keeps; below 1 it takes twice the work."
    )
    repaint_start: float | None = Field(
        default=None, ge=0, le=MAX_DURATION_S,
        description="Second where the new part begins; absent = 0, or the file's end where duration lies beyond it.",
    )  # fmt: skip
    repaint_end: float | None = Field(
        default=None, gt=0, le=MAX_DURATION_S, description="Where it ends; absent = the end."
    )

    _prepared: Prepared = PrivateAttr(default_factory=Prepared)

    @model_validator(mode="before")
    @classmethod
    def _no_negative(cls, values: object) -> object:
        if isinstance(values, dict) and "negative_prompt" in values:
            why = "in its guidance a vector it has learnt stands against the words"
            raise InvalidRequest(f"negative_prompt: ACE-Step takes none ({why}): leave it out", param="negative_prompt")
        return values

    @field_validator("prompt", "lyrics", mode="before")
    @classmethod
    def _none_is_empty(cls, value: object) -> object:
        return "" if value is None else value

    @field_validator("prompt", "lyrics")
    @classmethod
    def _without_margins(cls, value: str) -> str:
        return value.strip()

    @field_validator("language")
    @classmethod
    def _known(cls, value: str) -> str:
        code = value.strip().lower()
        if code not in LANGUAGES:
            raise UnknownName("language", value, LANGUAGES, param="language")
        return code

    @field_validator("key")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        if value is None or not value.strip():
            return None
        key = parse_key(value)
        if key.mode not in ("major", "minor"):
            raise InvalidRequest(f"key: ACE-Step knows major and minor, not {key.mode}", param="key")
        return str(key)

    @model_validator(mode="after")
    def _fits_together(self) -> AceStepRequest:
        if not self.prompt and not self.lyrics:
            raise InvalidRequest("there is nothing to make music of: give a prompt or lyrics", param="prompt")
        if self.task != "text2music" and self.src_audio is None:
            raise InvalidRequest(f"src_audio: a {self.task} needs the file it is made from", param="src_audio")
        if self.task == "text2music" and self.src_audio is not None:
            raise InvalidRequest("task: say what becomes of src_audio: cover or repaint", param="task")
        for name, task in (("cover_strength", "cover"), ("repaint_start", "repaint"), ("repaint_end", "repaint")):
            if name in self.model_fields_set and getattr(self, name) is not None and self.task != task:
                raise InvalidRequest(f"{name}: belongs to task {task}: leave it out", param=name)
        if self.repaint_end is not None and self.repaint_end <= (self.repaint_start or 0.0):
            raise InvalidRequest("repaint_end: must lie after repaint_start", param="repaint_end")
        return self

    @property
    def says_duration(self) -> bool:
        """Whether `duration` was asked for, rather than left to its default or to the file."""
        return "duration" in self.model_fields_set

    @property
    def prepared(self) -> Prepared:
        """The audio sent with it, once the model has read it (`AceStep.validate`)."""
        return self._prepared

    def with_prepared(self, prepared: Prepared) -> AceStepRequest:
        self._prepared = prepared
        return self

    def seconds(self) -> float:
        """Of one song. Before `src_audio` was read: the most that so many bytes are likely to be."""
        if self.prepared.seconds is not None:
            return self.prepared.seconds
        if self.src_audio is None or self.says_duration:
            return self.duration
        return min(MAX_DURATION_S, max(MIN_DURATION_S, len(self.src_audio) / _BYTES_A_SECOND))

    def audio_seconds(self) -> float:
        return self.seconds() * self.num_variations


class AceStepResponse(DiffusionResponse):
    """The song. With several variations all of them are in `waveforms`."""

    lyrics: str
    task: Task
    shift: float
    bpm: int | None
    key: str | None
    time_signature: str | None
    language: str
