"""What a user asks of a planner: one strict type, whatever door it came in by."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tonewheel.errors import InvalidRequest
from tonewheel.explain import explain
from tonewheel.songs.imagery import mood_of_word
from tonewheel.songs.language import language_code
from tonewheel.songs.plan import MAX_DURATION_S, MAX_SEED, MIN_DURATION_S
from tonewheel.songs.text import MAX_LYRICS, MAX_NARRATIVE, clean_lyrics, clean_name, clean_text
from tonewheel.theory import parse_key

DEFAULT_DURATION_S = 60.0


class PlanRequest(BaseModel):
    """A song in the user's words, and what they insist on. Build it with `plan_request`, which words the errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    narrative: str | None = Field(default=None, description="What the song is about; 1-4,000 characters.")
    duration_s: float = Field(default=DEFAULT_DURATION_S, ge=MIN_DURATION_S, le=MAX_DURATION_S, description="Seconds.")
    style: str | None = Field(default=None, description="A style of this server: id, title or alias.")
    moods: tuple[str, ...] = Field(default=(), max_length=4)
    tempo: float | None = Field(default=None, ge=30, le=300, description="Beats per minute.")
    key: str | None = Field(default=None, description="Such as 'A minor'.")
    language: str | None = Field(default=None, description="Of narrative and lyrics: a BCP 47 code or a name.")
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED, description="Absent = random; the plan tells it.")
    lyrics: str | None = Field(default=None, description="Own lyrics, with [Section] labels or as stanzas.")
    title: str | None = None
    artist: str | None = None
    instrumental: bool = Field(default=False, description="No words at all.")

    @field_validator("narrative", mode="before")
    @classmethod
    def _narrative(cls, value: object) -> object:
        return clean_text(value, "narrative", MAX_NARRATIVE) if isinstance(value, str) else value

    @field_validator("lyrics", mode="before")
    @classmethod
    def _lyrics(cls, value: object) -> object:
        return clean_lyrics(value, "lyrics", MAX_LYRICS) if isinstance(value, str) else value

    @field_validator("title", "artist", mode="before")
    @classmethod
    def _name(cls, value: object, info: Any) -> object:
        return clean_name(value, info.field_name) if isinstance(value, str) else value

    @field_validator("style", mode="before")
    @classmethod
    def _style(cls, value: object) -> object:
        return clean_name(value, "style") if isinstance(value, str) else value

    @field_validator("moods", mode="before")
    @classmethod
    def _apart(cls, value: object) -> object:
        given = [value] if isinstance(value, str) else value
        if not isinstance(given, list | tuple):
            return value
        return tuple(m for item in given for m in (item.split(",") if isinstance(item, str) else [item]))

    @field_validator("moods")
    @classmethod
    def _known_moods(cls, moods: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(mood_of_word(m) for m in moods))

    @field_validator("key")
    @classmethod
    def _key(cls, key: str | None) -> str | None:
        return None if key is None else str(parse_key(key))

    @field_validator("language")
    @classmethod
    def _language(cls, language: str | None) -> str | None:
        return None if language is None else language_code(language)

    @model_validator(mode="after")
    def _possible(self) -> PlanRequest:
        if self.narrative is None and self.lyrics is None:
            raise ValueError("there is nothing to make a song of: give a narrative or lyrics")
        if self.instrumental and self.lyrics is not None:
            raise ValueError("instrumental and lyrics exclude each other: leave one out")
        return self


def plan_request(**values: Any) -> PlanRequest:
    """A PlanRequest from loose values; None means absent. Raises InvalidRequest (or UnknownName), one line."""
    given = {name: value for name, value in values.items() if value is not None}
    try:
        return PlanRequest(**given)
    except ValidationError as e:
        raise explain(e, InvalidRequest, "", tuple(PlanRequest.model_fields)) from None
