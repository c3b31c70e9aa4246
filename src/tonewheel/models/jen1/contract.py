"""jen1's words, kept exactly (contracts.md): `{narrative, duration, options}` → GeneratedSong."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field, field_validator, model_validator

from tonewheel.errors import InvalidPlan, InvalidRequest
from tonewheel.models.base import Metadata, ModelRequest, Seed
from tonewheel.songs.generated_song import GeneratedSong, from_generated_song
from tonewheel.songs.plan import MAX_DURATION_S, MIN_DURATION_S, SongPlan
from tonewheel.songs.request import PlanRequest, plan_request

_OPTIONS = ("style", "tempo", "key", "language", "lyrics", "title", "artist", "instrumental")


class Jen1Request(ModelRequest):
    """A narrative to plan a song from.

    `options` may hold style (or genre), mood (or moods), tempo, key, language, lyrics, title, artist,
    instrumental, seed, and `generatedSong`: a finished song that is validated and returned.
    """

    narrative: str = Field(min_length=1, max_length=4000, description="What the song is about.")
    duration: int = Field(default=30, ge=MIN_DURATION_S, le=MAX_DURATION_S, description="Seconds.")
    options: dict[str, Any] = Field(default_factory=dict)
    seed: Seed | None = Field(default=None, description="Absent = options.seed, else random; told in the answer.")

    @field_validator("options", mode="before")
    @classmethod
    def _none_is_empty(cls, value: object) -> object:
        return {} if value is None else value

    @model_validator(mode="after")
    def _usable(self) -> Jen1Request:
        if self.given_song is None:
            self.to_plan_request()
        else:
            self.given_plan()
        return self

    @property
    def given_song(self) -> dict[str, Any] | None:
        """`options.generatedSong`, when there is one. Raises InvalidPlan when it is no mapping."""
        song = self.options.get("generatedSong")
        if song is None or isinstance(song, dict):
            return song
        raise InvalidPlan("options.generatedSong is not a mapping of fields", param="options.generatedSong")

    def given_plan(self) -> SongPlan:
        """`options.generatedSong` as a plan; one that tells no times gets the length asked. Raises InvalidPlan."""
        song = dict(self.given_song or {})
        sections = song.get("sections")
        told = [s for s in sections if isinstance(s, dict)] if isinstance(sections, list) else []
        if not any(s.get("duration_s") or s.get("start_s") for s in told):
            song.setdefault("duration_s", self.duration)
        return from_generated_song(song, "options.generatedSong")

    def to_plan_request(self) -> PlanRequest:
        """What the planner is asked. Raises InvalidRequest."""
        options = {name: self.options.get(name) for name in _OPTIONS}
        options["style"] = options["style"] or self.options.get("genre")
        moods = self.options.get("moods") or self.options.get("mood")
        seed = self.options.get("seed") if self.seed is None else self.seed
        if isinstance(seed, bool):
            raise InvalidRequest("options.seed: write a whole number, not a truth value", param="options.seed")
        return plan_request(
            narrative=self.narrative, duration_s=float(self.duration), moods=moods or None, seed=seed, **options
        )

    def audio_seconds(self) -> float:
        return 0.0  # nothing is rendered: a long song is planned as quickly as a short one


class Jen1Response(GeneratedSong):
    """A GeneratedSong, and beside it what every service tells of an answer."""

    model_config = ConfigDict(protected_namespaces=())

    metadata: Metadata
