"""What the composer's service is asked, and what it answers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from tonewheel.audio.formats import Format
from tonewheel.errors import InvalidRequest
from tonewheel.models.base import Metadata, ModelRequest, Seed
from tonewheel.songs.files import plan_from_value
from tonewheel.songs.plan import MAX_DURATION_S, MIN_DURATION_S, SongPlan
from tonewheel.songs.request import DEFAULT_DURATION_S, PlanRequest, plan_request


def _plan(value: object) -> object:
    return plan_from_value(value) if isinstance(value, dict) else value


_IN_THE_PLAN = ("narrative", "duration", "mood", "tempo", "key", "language", "lyrics", "title", "artist")


class ComposerRequest(ModelRequest):
    """A narrative (or own lyrics) to make a song of, or a whole song plan."""

    model_config = ConfigDict(extra="forbid")  # our own contract: a typing mistake is told, not ignored

    narrative: str | None = Field(default=None, description="What the song is about; 1-4,000 characters.")
    plan: Annotated[SongPlan, BeforeValidator(_plan)] | None = Field(
        default=None, description="A song plan or a jen1 GeneratedSong, instead of a narrative."
    )
    duration: Annotated[float, Field(ge=MIN_DURATION_S, le=MAX_DURATION_S)] | None = Field(
        default=None, description=f"Seconds; {DEFAULT_DURATION_S:g} when neither this nor a plan is given."
    )
    style: str | None = Field(default=None, description="A style of this server: id, title or alias.")
    mood: str | list[str] | None = Field(default=None, description="At most four, as a list or with commas.")
    tempo: Annotated[float, Field(ge=30, le=300)] | None = Field(default=None, description="Beats per minute.")
    key: str | None = Field(default=None, description="Such as 'A minor'.")
    language: str | None = Field(default=None, description="Of the lyrics: a BCP 47 code or a name.")
    seed: Seed | None = Field(default=None, description="Absent = random; always told in the answer.")
    lyrics: str | None = Field(default=None, description="Own lyrics, with [Section] labels or as stanzas.")
    title: str | None = None
    artist: str | None = None
    instrumental: bool = Field(default=False, description="No words at all.")
    format: Format = Field(default="wav", description="Of the audio in the JSON answer.")
    midi: bool = Field(default=False, description="Also answer the notes as `midi_base64`.")
    lrc: bool = Field(default=False, description="Also answer the timed lyrics as `lrc`.")
    stems: bool = Field(default=False, description="Also answer every part alone as FLAC.")

    @model_validator(mode="after")
    def _one_source(self) -> ComposerRequest:
        if self.plan is None:
            self.to_plan_request()
            return self
        both = [name for name in _IN_THE_PLAN if getattr(self, name) is not None]
        if both or self.instrumental:
            raise InvalidRequest(
                f"{(both or ['instrumental'])[0]} and plan exclude each other: write it into the plan",
                param=(both or ["instrumental"])[0],
            )
        return self

    def to_plan_request(self) -> PlanRequest:
        """What the planner is asked when no plan was given. Raises InvalidRequest."""
        try:
            return plan_request(
                narrative=self.narrative, duration_s=self.audio_seconds(), style=self.style, moods=self.mood,
                tempo=self.tempo, key=self.key, language=self.language, seed=self.seed, lyrics=self.lyrics,
                title=self.title, artist=self.artist, instrumental=self.instrumental or None,
            )  # fmt: skip
        except InvalidRequest as e:
            if e.param is not None and e.param.startswith("moods"):
                e.param = "mood"  # its name here
            raise

    def audio_seconds(self) -> float:
        if self.plan is not None:
            return self.plan.duration_s
        return DEFAULT_DURATION_S if self.duration is None else self.duration


class Stem(BaseModel):
    """One part alone, as it stands in the mix before the master."""

    name: str
    audio_base64: str = Field(description="FLAC, 24 bits.")


class ComposerResponse(BaseModel):
    """The finished song."""

    audio_base64: str
    format: Format
    sample_rate: int
    duration: float = Field(description="Real seconds.")
    num_samples: int
    channels: int
    title: str
    plan: dict[str, Any] = Field(description="The song plan it was made from, seed included.")
    style: str
    loudness_lufs: float
    true_peak_dbtp: float
    midi_base64: str | None = None
    lrc: str | None = None
    stems: list[Stem] | None = None
    metadata: Metadata
