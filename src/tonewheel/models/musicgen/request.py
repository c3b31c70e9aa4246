"""What MusicGen is asked and what it answers: contracts.md, 2006, and the fields added beside them."""

from __future__ import annotations

from pydantic import BaseModel, Field, PrivateAttr, field_validator

from tonewheel.models.base import Metadata, ModelRequest, Seed, Upload
from tonewheel.models.musicgen.prepared import Prepared

MIN_DURATION_S = 0.5
MAX_DURATION_S = 300.0
MAX_PROMPT = 10_000  # characters


class MusicgenRequest(ModelRequest):
    """A description, and perhaps music to go on from.

    `duration` up to 30 s is one window of the model; a longer one is made of windows, each of which goes on from the
    last 15 to 20 s of the one before.
    """

    prompt: str = Field(
        default="", max_length=MAX_PROMPT, description="What it is to sound like; empty = whatever the model likes."
    )
    duration: float = Field(
        default=10.0, ge=MIN_DURATION_S, le=MAX_DURATION_S, description="Seconds of new music, exact to the sample."
    )
    temperature: float = Field(default=1.0, ge=0.01, le=2, description="Higher is less predictable.")
    top_k: int = Field(default=250, ge=0, le=1000, description="Draw from so many tokens at most; 0 = from all.")
    top_p: float = Field(
        default=0.9, ge=0, le=1, description="Draw from the likeliest tokens that make up this share; 1 = from all."
    )
    guidance_scale: float = Field(
        default=3.0, ge=1, le=15, description="How closely the prompt is followed; 1 = no guidance, half the work."
    )
    do_sample: bool = Field(default=True, description="False = always the likeliest token.")
    seed: Seed | None = Field(default=None, description="The same seed and request give the same bytes.")
    negative_prompt: str = Field(
        default="", max_length=MAX_PROMPT, description="What it is not to sound like; needs guidance_scale above 1."
    )
    continue_from: Upload | None = Field(
        default=None, description="A file of music (1 s or more) to go on from; the answer begins with it."
    )
    melody: Upload | None = Field(
        default=None, description="A file whose melody is to be followed (melody models); repeated when it is short."
    )
    num_variations: int = Field(
        default=1, ge=1, le=8, description="So many different answers, each with a seed of its own."
    )

    _prepared: Prepared = PrivateAttr(default_factory=Prepared)

    @field_validator("prompt", "negative_prompt", mode="before")
    @classmethod
    def _none_is_empty(cls, value: object) -> object:
        return "" if value is None else value

    @field_validator("prompt", "negative_prompt")
    @classmethod
    def _without_margins(cls, value: str) -> str:
        return value.strip()

    @property
    def prepared(self) -> Prepared:
        """The audio sent with it, once the model has read it (`Musicgen.validate`)."""
        return self._prepared

    def with_prepared(self, prepared: Prepared) -> MusicgenRequest:
        self._prepared = prepared
        return self

    def audio_seconds(self) -> float:
        return self.duration * self.num_variations


class Variation(BaseModel):
    """One of several answers."""

    audio_base64: str = Field(description="WAV, 16 bits.")
    seed: int
    duration: float
    num_samples: int


class MusicgenResponse(BaseModel):
    """The music. With several variations the first is also in `audio_base64`."""

    audio_base64: str = Field(description="WAV, 16 bits.")
    sample_rate: int
    duration: float = Field(description="Real seconds, those of `continue_from` included.")
    num_samples: int = Field(description="A channel.")
    channels: int
    prompt: str
    seed: int
    variations: list[Variation] | None = Field(default=None, description="All of them, when more than one was asked.")
    notes: list[str] = Field(default=[], description="What was done otherwise than asked, such as a prompt cut short.")
    metadata: Metadata
