"""What a user asks for when they order a song: one strict type, whatever door it came in by."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tonewheel.audio.formats import Format
from tonewheel.errors import InvalidRequest
from tonewheel.explain import explain
from tonewheel.keep_alive import parse_keep_alive
from tonewheel.songs.plan import MAX_DURATION_S, MAX_SEED, SongPlan
from tonewheel.songs.request import DEFAULT_DURATION_S, PlanRequest, plan_request
from tonewheel.songs.text import MAX_NARRATIVE, clean_text

_FOR_THE_PLANNER = ("narrative", "style", "moods", "tempo", "key", "language", "lyrics", "title", "artist")


class SongRequest(BaseModel):
    """An order. Give a `narrative`, a `plan`, a `prompt` or `lyrics`. Build it with `song_request`, which words the
    errors.

    With a plan, nothing else that a planner would decide may be given. `prompt` is a style in words for
    models that take one; models that need a plan take it for a narrative.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    narrative: str | None = Field(default=None, description="What the song is about; 1-4,000 characters.")
    plan: SongPlan | None = Field(default=None, description="A whole song plan: rendered as it is.")
    prompt: str | None = Field(default=None, description="How it should sound, in words.")
    lyrics: str | None = Field(default=None, description="Own lyrics, with [Section] labels or as stanzas.")
    model: str = Field(default="composer", pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")
    duration_s: float = Field(default=DEFAULT_DURATION_S, ge=1, le=MAX_DURATION_S, description="Seconds.")
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED, description="Absent = random; the song tells it.")
    format: Format = "mp3"
    style: str | None = None
    moods: tuple[str, ...] = ()
    tempo: float | None = None
    key: str | None = None
    language: str | None = None
    title: str | None = None
    artist: str | None = None
    instrumental: bool = False
    midi: bool = Field(default=False, description="Also a MIDI file, where the model writes notes.")
    lrc: bool = Field(default=False, description="Also timed lyrics, where the model knows them.")
    stems: bool = Field(default=False, description="Also one file a part, where the model plays parts.")
    options: dict[str, Any] = Field(default_factory=dict, description="The model's own settings, checked by it.")
    keep_alive: str | int | float | None = Field(
        default=None, description="How long the model stays loaded afterwards: 0, -1 (always), seconds, or '30m'."
    )

    @field_validator("prompt", mode="before")
    @classmethod
    def _prompt(cls, value: object) -> object:
        return clean_text(value, "prompt", MAX_NARRATIVE) if isinstance(value, str) else value

    @field_validator("keep_alive", mode="before")
    @classmethod
    def _readable(cls, value: Any) -> Any:
        parse_keep_alive(value)
        return value

    @model_validator(mode="after")
    def _possible(self) -> SongRequest:
        if self.plan is not None:
            also = [n for n in (*_FOR_THE_PLANNER, "prompt") if getattr(self, n)]
            if also or self.instrumental or (self.seed is not None and self.seed != self.plan.seed):
                what = ", ".join([*also, *(["instrumental"] if self.instrumental else [])]) or "another seed"
                raise ValueError(f"a plan says it all: leave out {what}, or leave out the plan")
        elif self.narrative is None and self.prompt is None and self.lyrics is None:
            raise ValueError("there is nothing to make a song of: give a narrative, a plan, a prompt or lyrics")
        else:
            self._check_planning()
        return self

    def _check_planning(self) -> None:
        # A planner would refuse these, too, but only after the job was accepted.
        if self.needs_planner and (self.narrative is not None or self.lyrics is not None or self.model == "composer"):
            self.plan_request()

    @property
    def needs_planner(self) -> bool:
        return self.plan is None

    @property
    def length_s(self) -> float:
        """Seconds asked for."""
        return self.plan.duration_s if self.plan is not None else self.duration_s

    def plan_request(self) -> PlanRequest:
        """The same for a planner; a prompt stands in for a narrative. Raises InvalidRequest."""
        given = {n: getattr(self, n) for n in _FOR_THE_PLANNER if getattr(self, n)}
        if "narrative" not in given and "lyrics" not in given and self.prompt is not None:
            given["narrative"] = self.prompt
        return plan_request(**given, duration_s=self.duration_s, seed=self.seed, instrumental=self.instrumental)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, only what was given."""
        return self.model_dump(mode="json", exclude_unset=True, exclude_none=True)


def song_request(**values: Any) -> SongRequest:
    """A SongRequest from loose values; None means absent. Raises InvalidRequest (or UnknownName), one line."""
    given = {name: value for name, value in values.items() if value is not None}
    try:
        return SongRequest(**given)
    except ValidationError as e:
        raise explain(e, InvalidRequest, "", tuple(SongRequest.model_fields)) from None
