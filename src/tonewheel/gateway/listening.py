"""Analyses: what a recording is like, told by helper processes and by the models that are there. Blocking."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from tonewheel.errors import InvalidRequest, NotFound, NotPulled, ServiceBusy, UnknownName
from tonewheel.gateway.models import Models
from tonewheel.jobs.children import Children
from tonewheel.library import Library, Song
from tonewheel.library.vectors import Near, Vector, Vectors
from tonewheel.models import registry
from tonewheel.models.base import Card, ModelRequest, Upload
from tonewheel.settings import service_url

Task = Literal["tempo", "beats", "key", "loudness", "spectrum", "embeddings", "genre", "mood", "zero_shot", "lyrics"]
DEFAULT_TASKS: tuple[Task, ...] = ("tempo", "beats", "key", "loudness", "spectrum")  # they need no weights
_TAGS = ("embeddings", "genre", "mood", "zero_shot")  # they do
MAX_BODY_BYTES = 128 * 1024 * 1024
_FIELDS = {"beats": "beat_model", "embed": "tag_model", "transcribe": "lyrics_model"}  # that choose who tells
_HELPER_S = 600.0
_AT_ONCE = 4  # each holds a recording in memory

ModelId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")]
Label = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Labels = Annotated[list[Label], Field(min_length=1, max_length=500)]


class AnalysisRequest(ModelRequest):
    """A recording, or a song of the library, and what is to be told of it."""

    model_config = ConfigDict(extra="forbid")

    audio: Upload | None = Field(
        default=None, description="WAV, FLAC, MP3, Ogg/Opus, AIFF or M4A in base64; or a file of a multipart form."
    )
    song_id: str | None = Field(default=None, max_length=200, description="A song that was made, instead of audio.")
    tasks: list[Task] = Field(
        default=list(DEFAULT_TASKS), min_length=1, max_length=20, description="Default: all that need no weights."
    )
    beat_model: ModelId | None = Field(
        default=None, description="Who tells beats: a model, or `onset`. Default: the first one pulled, else onset."
    )
    tag_model: ModelId | None = Field(
        default=None, description="Who tells embeddings, genre and mood. Default: the first one pulled."
    )
    lyrics_model: ModelId | None = Field(
        default=None, description="Who hears the words. Default: the first one pulled."
    )
    language: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}$")] | None = Field(
        default=None, description="What is sung, for `lyrics`: en, zh, ja … Without it the model decides."
    )
    text_candidates: Labels | None = Field(default=None, description="Texts to choose from; `zero_shot` needs them.")
    genres: Labels | None = Field(default=None, description="Own labels for `genre`.")
    moods: Labels | None = Field(default=None, description="Own labels for `mood`.")

    @model_validator(mode="after")
    def _complete(self) -> AnalysisRequest:
        if (self.audio is None) == (self.song_id is None):
            raise InvalidRequest("give either audio or song_id: the recording to analyse", param="audio")
        if "zero_shot" in self.tasks and self.text_candidates is None:
            raise InvalidRequest("text_candidates: is missing: zero_shot needs texts to choose from",
                                 param="text_candidates")  # fmt: skip
        return self


class AnalysisView(BaseModel):
    """What was told; null is what was not asked for, or cannot be told of this recording."""

    model_config = ConfigDict(protected_namespaces=())

    duration_s: float
    sample_rate: int
    channels: int
    format: str = Field(examples=["MP3"])
    tempo: dict[str, Any] | None = Field(default=None, description="model, bpm, confidence, octaves.")
    beats: dict[str, Any] | None = Field(
        default=None, description="model, beats, downbeats, bpm, tempo, meter, markers. Seconds."
    )
    key: dict[str, Any] | None = Field(default=None, description="key, confidence, runner_up, inside.")
    loudness: dict[str, float | None] | None = Field(
        default=None, description="lufs, range_lu, true_peak_dbtp, peak_dbfs; null = silence."
    )
    spectrum: dict[str, float] | None = Field(default=None, description="Percent of the energy by band.")
    tag_model: str | None = Field(default=None, description="Who told what follows.")
    embeddings: list[float] | None = None
    genre: dict[str, Any] | None = None
    mood: dict[str, Any] | None = None
    zero_shot: dict[str, Any] | None = None
    lyrics: dict[str, Any] | None = Field(
        default=None, description="model, language, text, segments (start_s, end_s, text); text is empty in silence."
    )


class SearchRequest(ModelRequest):
    """What a song should sound like: words, or a recording."""

    model_config = ConfigDict(extra="forbid")

    text: Label | None = Field(default=None, description="Such as 'slow piano in an empty hall'.")
    audio: Upload | None = Field(default=None, description="A recording in base64, or a file of a multipart form.")
    limit: int = Field(default=20, ge=1, le=200)

    @model_validator(mode="after")
    def _complete(self) -> SearchRequest:
        if (self.text is None) == (self.audio is None):
            raise InvalidRequest("give either text or audio: what the songs should sound like", param="text")
        return self


class Ears:
    """One a server."""

    def __init__(self, models: Models, library: Library) -> None:
        self._models = models
        self._library = library
        self._vectors = Vectors(library.database)
        self._helpers = Children()
        self._room = threading.Semaphore(_AT_ONCE)

    @contextmanager
    def room(self) -> Iterator[None]:
        """A place for one recording in memory. Raises ServiceBusy."""
        if not self._room.acquire(blocking=False):
            raise ServiceBusy(f"{_AT_ONCE} analyses are at work, which is all: try again", retry_after_s=5)
        try:
            yield
        finally:
            self._room.release()

    def hear(self, asked: AnalysisRequest, file: Path, cancelled: Callable[[], bool]) -> AnalysisView:
        """Raises UnreadableAudio, TooLarge, NotPulled, and what the models raise."""
        beats = self._chosen(asked.beat_model, "beats") if "beats" in asked.tasks else None
        tags = [task for task in asked.tasks if task in _TAGS]
        tagger = self._chosen(asked.tag_model, "embed") if tags else None
        writer = self._chosen(asked.lyrics_model, "transcribe") if "lyrics" in asked.tasks else None
        if tags and tagger is None:
            raise _not_here(tags[0], "embed")
        if "lyrics" in asked.tasks and writer is None:
            raise _not_here("lyrics", "transcribe")
        others = (*_TAGS, "lyrics", *(["beats"] if beats else []))
        own = [task for task in asked.tasks if task not in others]
        told = self._helpers.call(
            "listen", {"audio": str(file), "tasks": own}, deadline_s=_HELPER_S, cancelled=cancelled
        )  # fmt: skip
        self._helpers.trim()
        told.pop("took_s", None)
        if beats is not None:
            told["beats"] = self._ask(beats, {"strict": False, "frames": False}, file, cancelled)
        if tagger is not None:
            more = {"text_candidates": asked.text_candidates, "genres": asked.genres, "moods": asked.moods}
            body = {"tasks": tags} | {name: value for name, value in more.items() if value is not None}
            heard = self._ask(tagger, body, file, cancelled)
            told |= {"tag_model": heard["model"]} | {task: heard[task] for task in tags}
        if writer is not None:
            told["lyrics"] = self._ask(writer, {"language": asked.language}, file, cancelled)
        return AnalysisView(**told)

    # ── what is alike ──

    def find(self, asked: SearchRequest, cancelled: Callable[[], bool]) -> list[tuple[Song, float]]:
        """Songs that sound like a text or a recording, and their cosine, the nearest first. Raises NotPulled."""
        card = self._tagger("search")
        if asked.text is not None:
            body: dict[str, Any] = {"texts": [asked.text]}
        else:
            assert asked.audio is not None  # the request saw to it
            body = {"audio": base64.b64encode(asked.audio).decode()}
        answer = self._models.fleet.call(card.id, body, cancelled=cancelled).fields
        vector = answer["text_embeddings"][0] if asked.text is not None else answer["embeddings"]
        return self._songs(self._vectors.nearest(vector, card.id, asked.limit))

    def similar(self, song: Song, limit: int, cancelled: Callable[[], bool]) -> list[tuple[Song, float]]:
        """Songs that sound like `song`. One that nobody has heard yet is heard now. Raises NotPulled."""
        card = self._chosen(None, "embed")
        models = [card.id] if card is not None else self._vectors.models()  # what was heard once needs no model
        for model in models:
            vector = self._vectors.of(song.id, model)
            if vector is None and card is not None:
                vector = self._heard(song, card, cancelled)
            if vector is not None:
                return self._songs(self._vectors.nearest(vector, model, limit, but=song.id))
        raise self._not_pulled("similar_to")

    def _heard(self, song: Song, card: Card, cancelled: Callable[[], bool]) -> Vector | None:
        main = song.artifact("song")
        if main is None:
            return None
        with self._library.open(main.id) as (_, file):
            audio = base64.b64encode(file.read()).decode()
        answer = self._models.fleet.call(card.id, {"audio": audio}, cancelled=cancelled)
        self._vectors.put(song.id, card.id, answer.fields["embeddings"])
        return self._vectors.of(song.id, card.id)

    def _songs(self, near: list[Near]) -> list[tuple[Song, float]]:
        found = []
        for n in near:
            with suppress(NotFound):  # deleted since
                found.append((self._library.get(n.song_id), n.score))
        return found

    # ── models ──

    def _tagger(self, what: str) -> Card:
        card = self._chosen(None, "embed")
        if card is None:
            raise self._not_pulled(what)
        return card

    def _not_pulled(self, what: str) -> NotPulled:
        return NotPulled(f"{what} needs a model that is not here: run `tonewheel pull {_first('embed').id}`")

    def _ask(self, card: Card, body: dict[str, Any], file: Path, cancelled: Callable[[], bool]) -> dict[str, Any]:
        audio = base64.b64encode(file.read_bytes()).decode()
        answer = self._models.fleet.call(card.id, {"audio": audio, **body}, cancelled=cancelled)
        left_out = ("metadata", "duration", "num_beats", "num_downbeats", "frames")
        return {"model": card.id} | {k: v for k, v in answer.fields.items() if k not in left_out}

    def _chosen(self, name: str | None, task: str) -> Card | None:
        """The model asked for, or the first that is here; None = none, or our own listening was asked for."""
        from tonewheel.fleet.pull import is_pulled  # noqa: PLC0415  (the fleet is loaded on first use)

        able = [card for card in registry.cards().values() if task in card.tasks]
        if name is None:
            return next((card for card in able if is_pulled(card) or service_url(card.id) is not None), None)
        if name == "onset" and task == "beats":
            return None
        found = next((card for card in able if card.id == name), None)
        if found is None:
            known = [card.id for card in able] + (["onset"] if task == "beats" else [])
            raise UnknownName("model", name, known, param=_FIELDS[task])
        return found


def _first(task: str) -> Card:
    return next(card for card in registry.cards().values() if task in card.tasks)


def _not_here(asked: str, task: str) -> NotPulled:
    return NotPulled(
        f"{asked} needs a model that is not here: run `tonewheel pull {_first(task).id}`, or ask for "
        f"{', '.join(DEFAULT_TASKS)}",
        param="tasks",
    )
