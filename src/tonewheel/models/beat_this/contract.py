"""Beat This' words, kept exactly (contracts.md, port 2012); tempo, meter and markers are added beside them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tonewheel.models.base import Metadata, ModelRequest, Upload

STRICT_RATE = 22_050
STRICT_CHANNELS = 1
STRICT_S = 30.0


class BeatThisRequest(ModelRequest):
    """A recording whose beats are to be found."""

    audio: Upload = Field(description="The recording: WAV, FLAC, MP3, Ogg/Opus or M4A, in base64 (or as a file).")
    strict: bool = Field(
        default=True, description="Take only 22050 Hz, mono, at most 30 s. false: any rate, channels and length."
    )
    frames: bool = Field(default=True, description="Answer the probabilities of every frame, too.")
    postprocess: Literal["minimal", "dbn"] = Field(
        default="minimal", description="How beats are picked. dbn is not there: its weights are non-commercial."
    )


class Frames(BaseModel):
    """Probabilities 0-1 a frame; frame i is at i / fps seconds."""

    beat_probs: list[float]
    downbeat_probs: list[float]
    fps: int = 50
    num_frames: int


class LocalTempo(BaseModel):
    time: float = Field(description="Seconds: the middle of the stretch.")
    bpm: float


class Tempo(BaseModel):
    """A straight line through beat numbers and times: unlike `bpm` it is not bound to the grid of frames."""

    bpm: float
    drift_percent: float = Field(description="How much faster the last beats are than the first.")
    deviation_ms: float = Field(description="Root mean square distance of the beats from the line.")
    course: list[LocalTempo] = Field(description="The tempo of every 16 beats.")


class Meter(BaseModel):
    beats_per_bar: int
    agreement: float = Field(description="Share of the bars that have as many beats, 0-1.")


class Marker(BaseModel):
    """A beat, ready to be a marker on a time line."""

    time: float
    bar: int | None = Field(description="1 = the first whole bar, 0 = before it; null without downbeats.")
    beat: int | None = Field(description="Number in its bar, from 1.")


class BeatThisResponse(BaseModel):
    """What was heard. Times are seconds from the start of the recording."""

    model_config = ConfigDict(protected_namespaces=())

    beats: list[float]
    downbeats: list[float] = Field(description="Every one of them is one of the beats.")
    bpm: float | None = Field(description="60 / median interval, one decimal; null with fewer than 2 beats.")
    num_beats: int
    num_downbeats: int
    duration: float = Field(description="Seconds of the recording as sent.")
    frames: Frames | None = Field(description="null when not asked for.")
    tempo: Tempo | None = Field(description="null with fewer than 3 beats.")
    meter: Meter | None = Field(description="null with fewer than 2 downbeats.")
    markers: list[Marker]
    model: str
    metadata: Metadata
