"""CLAP's words, kept exactly (contracts.md, port 2007); batches, own label sets and texts are added beside them."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from tonewheel.errors import InvalidRequest
from tonewheel.models.base import Metadata, ModelRequest, Upload

Task = Literal["embeddings", "zero_shot", "similarity", "genre", "mood"]
TASKS: tuple[Task, ...] = get_args(Task)
MOST_LABELS = 500
MOST_FILES = 32

Text = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Labels = Annotated[list[Text], Field(min_length=1, max_length=MOST_LABELS)]


class ClapRequest(ModelRequest):
    """A recording, and what is to be told of it. Several recordings at once go into `batch`."""

    audio: Upload | None = Field(
        default=None, description="The recording: WAV, FLAC, MP3, Ogg/Opus or M4A, in base64 (or as a file). Required."
    )
    tasks: list[Task] = Field(default=["embeddings"], min_length=1, max_length=20, description="What to tell.")
    audio_b: Upload | None = Field(default=None, description="The recording to compare with; `similarity` needs it.")
    text_candidates: Labels | None = Field(
        default=None, description="Texts to choose from, taken as they are; `zero_shot` needs them."
    )
    text: Text | None = Field(default=None, description="Also tell how well this text describes the recording.")
    genres: Labels | None = Field(default=None, description="Own labels for `genre`.")
    moods: Labels | None = Field(default=None, description="Own labels for `mood`.")
    batch: Annotated[list[Upload], Field(min_length=1, max_length=MOST_FILES)] | None = Field(
        default=None, description="Several recordings instead of `audio`: the answers are in `results`."
    )
    texts: Labels | None = Field(
        default=None, description="Texts to embed, for a search; then `audio` may be left out."
    )  # fmt: skip

    @model_validator(mode="after")
    def _complete(self) -> ClapRequest:
        if self.audio is not None and self.batch is not None:
            raise InvalidRequest("audio and batch exclude each other: put every recording into batch", param="batch")
        asked = {"audio_b", "text_candidates", "text", "tasks"} & self.model_fields_set
        if not self.recordings and (self.texts is None or asked):
            raise InvalidRequest("audio: is missing: give it", param="audio")
        self.tasks = list(dict.fromkeys(self.tasks))
        if "similarity" in self.tasks and self.audio_b is None:
            raise InvalidRequest("audio_b: is missing: similarity needs a second recording", param="audio_b")
        if "zero_shot" in self.tasks and self.text_candidates is None:
            raise InvalidRequest(
                "text_candidates: is missing: zero_shot needs texts to choose from", param="text_candidates"
            )
        return self

    @property
    def recordings(self) -> list[bytes]:
        """`audio`, or all of `batch`; empty when only texts are to be embedded."""
        return [self.audio] if self.audio is not None else list(self.batch or ())


class Prediction(BaseModel):
    label: str
    score: float = Field(description="0-1; all of a list sum to 1.")


class Predictions(BaseModel):
    """Softmax of 100 × cosine over the labels, highest first."""

    predictions: list[Prediction]
    top_label: str


class Similarity(BaseModel):
    score: float = Field(description="Cosine, -1 to 1.")
    distance: float = Field(description="1 − score.")


class TextScore(BaseModel):
    text: str
    score: float = Field(description="Cosine, -1 to 1.")


class Heard(BaseModel):
    """What was told of one recording; absent is what was not asked for."""

    embeddings: list[float] | None = Field(default=None, description="512 numbers of length 1.")
    zero_shot: Predictions | None = None
    genre: Predictions | None = None
    mood: Predictions | None = None
    similarity: Similarity | None = None
    text: TextScore | None = None
    duration: float | None = Field(default=None, description="Seconds of the recording as sent.")
    windows: int | None = Field(default=None, description="How many windows of at most 10 s it was heard in.")


class ClapResponse(Heard):
    """What was told of `audio`; of a `batch` it is in `results`, in its order."""

    model_config = ConfigDict(protected_namespaces=())

    tasks: list[Task]
    results: list[Heard] | None = None
    text_embeddings: list[list[float]] | None = Field(default=None, description="Of `texts`, in their order.")
    metadata: Metadata
