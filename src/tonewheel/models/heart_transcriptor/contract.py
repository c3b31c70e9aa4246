"""What HeartTranscriptor is asked and answers. The contract is our own: no clients of others exist."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from tonewheel.models.base import Metadata, ModelRequest, Upload

Language = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}$", to_lower=True)]


class TranscriptionRequest(ModelRequest):
    """A recording with somebody singing in it."""

    model_config = ConfigDict(extra="forbid")

    audio: Upload = Field(
        description="The recording: WAV, FLAC, MP3, Ogg/Opus or M4A, in base64 (or as a file); at most an hour."
    )
    language: Language | None = Field(
        default=None, description="What is sung: en, zh, ja … Without it the first 30 s with sound in them decide."
    )


class SungSegment(BaseModel):
    """Words between two moments the model named, to 20 ms at best."""

    start_s: float
    end_s: float
    text: str


class TranscriptionResponse(BaseModel):
    """What was heard."""

    model_config = ConfigDict(protected_namespaces=())

    text: str = Field(description="All of it, a line a segment; empty where none were heard.")
    language: str | None = Field(description="The one asked for or heard; null where there is nothing but silence.")
    segments: list[SungSegment] = Field(description="In order.")
    duration: float = Field(description="Seconds of the recording as sent.")
    metadata: Metadata
