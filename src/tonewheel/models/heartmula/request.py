"""What HeartMuLa is asked and what it answers: contracts.md, 9920."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field, PrivateAttr, field_validator, model_validator

from tonewheel.errors import InvalidRequest
from tonewheel.models.base import Metadata, ModelRequest, Seed
from tonewheel.songs.plan import MAX_DURATION_S

if TYPE_CHECKING:
    from tonewheel.models.heartmula.prompt import Tokens

_WORDS_OF_A_STYLE = 20  # a prompt of more words, or of several lines, is lyrics
_TAGS, _TAG = 50, 100  # at most so many, of so many characters


class HeartmulaRequest(ModelRequest):
    """Words to sing and what they are to sound like. All texts are texts: none is ever read as the name of a file."""

    prompt: str | None = Field(
        default=None, max_length=8000, description="A style; several lines or over 20 words are lyrics."
    )
    lyrics: str | None = Field(
        default=None, max_length=20_000,
        description="Lines to sing, with [Intro] [Verse] [Prechorus] [Chorus] [Bridge] [Outro] on lines of their own.",
    )  # fmt: skip
    style: str | None = Field(default=None, max_length=4000, description="How it sounds; never sung.")
    tags: str | list[str] | None = Field(default=None, description="'electronic,ambient', or a list.")
    duration: float = Field(
        default=30.0, gt=0, le=MAX_DURATION_S, description="Seconds at most; the model may end its song earlier."
    )
    temperature: float = Field(default=1.0, ge=0, le=5, description="Higher is less predictable; 0 = the likeliest.")
    top_k: int = Field(default=50, ge=0, le=100_000, description="Draw from so many codes at most; 0 = from all.")
    top_p: float | None = Field(
        default=None, ge=0, le=1, description="Draw from the likeliest codes that make up this share."
    )
    input: str | None = Field(default=None, max_length=8000, description="The same as prompt.")
    seed: Seed | None = Field(default=None, description="The same seed and request give the same song.")
    guidance_scale: float = Field(
        default=1.5,
        ge=0,
        le=30,
        description="How closely the words are followed; 1 or less = no guidance, half the work.",
    )

    _tokens: Tokens | None = PrivateAttr(default=None)

    @field_validator("tags", mode="before")
    @classmethod
    def _texts(cls, tags: object) -> object:
        if tags is None or isinstance(tags, str) or (isinstance(tags, list) and all(isinstance(t, str) for t in tags)):
            return tags
        raise ValueError("tags: write a text such as 'folk,warm', or a list of texts")

    @field_validator("tags")
    @classmethod
    def _few(cls, tags: str | list[str] | None) -> str | list[str] | None:
        if isinstance(tags, list) and (len(tags) > _TAGS or any(len(tag) > _TAG for tag in tags)):
            raise ValueError(f"tags: at most {_TAGS} tags of {_TAG} characters each")
        if isinstance(tags, str) and len(tags) > _TAGS * _TAG:
            raise ValueError(f"tags: at most {_TAGS * _TAG} characters, not {len(tags)}")
        return tags

    @model_validator(mode="after")
    def _something(self) -> HeartmulaRequest:
        if not self.sound and not self.words:
            raise InvalidRequest(
                "there is nothing to make music of: give a prompt, lyrics, style or tags", param="prompt"
            )
        return self

    @property
    def asked(self) -> str:
        """The prompt, under either of its names."""
        return (self.prompt or self.input or "").strip()

    @property
    def words(self) -> str:
        """What is to be sung."""
        if self.lyrics is not None:
            return self.lyrics.strip()
        return self.asked if _is_lyrics(self.asked) else ""

    @property
    def sound(self) -> str:
        """What it is to sound like, comma-separated: style, tags, and a prompt that is not sung."""
        tags = ",".join(self.tags) if isinstance(self.tags, list) else self.tags
        prompt = self.asked if self.lyrics is not None or not _is_lyrics(self.asked) else ""
        parts = [
            tag.strip() for text in (self.style, tags, prompt) if text for tag in text.replace("\n", ",").split(",")
        ]
        return ",".join(dict.fromkeys(part for part in parts if part))

    @property
    def tokens(self) -> Tokens:
        """Its texts as ids, once the model has looked at them (`Heartmula.validate`)."""
        if self._tokens is None:
            raise RuntimeError("validate comes before run")
        return self._tokens

    def with_tokens(self, tokens: Tokens) -> HeartmulaRequest:
        self._tokens = tokens
        return self


def _is_lyrics(prompt: str) -> bool:
    return len(prompt.splitlines()) > 1 or len(prompt.split()) > _WORDS_OF_A_STYLE


class HeartmulaResponse(BaseModel):
    """The song."""

    audio_base64: str = Field(description="WAV, 16 bits, stereo.")
    sample_rate: int
    duration: float = Field(description="Real seconds: frames / 12.5.")
    num_samples: int = Field(description="A channel.")
    channels: int
    frames: int = Field(description="Of 80 ms.")
    ended: Literal["by itself", "at its length"] = Field(description="Whether the model ended it, or `duration` did.")
    prompt: str
    lyrics: str = Field(description="As sung: with the rule for prompts applied.")
    tags: str
    seed: int
    metadata: Metadata


class MusicGenerated(BaseModel):
    """What `POST /v1/music/generations` answers."""

    id: str
    status: Literal["completed"] = "completed"
    audio_url: str = Field(description="On this service.", examples=["/audio/4Xo0cWk9sZ2tGqLrNvY1eA.wav"])
    duration: float = Field(description="Real seconds.")
    prompt: str
    lyrics: str
    tags: str
    seed: int
    sample_rate: int
    channels: int
    ended: Literal["by itself", "at its length"]
    metadata: Metadata
