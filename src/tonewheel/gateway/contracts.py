"""Bodies and answers of the contracts that existed before Tonewheel (contracts.md), and the orders they stand for."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator

from tonewheel.errors import InvalidRequest, UnknownName
from tonewheel.gateway.orders import SongOrder
from tonewheel.gateway.views import artifact_url, job_url
from tonewheel.jobs import Job, JobError, SongRequest, song_request
from tonewheel.library import Song
from tonewheel.models import registry
from tonewheel.models.base import ModelRequest, Seed
from tonewheel.models.jen1.contract import Jen1Request
from tonewheel.settings import service_url
from tonewheel.songs.generated_song import to_generated_song
from tonewheel.songs.plan import MAX_DURATION_S, SongPlan

_WORDS_OF_A_STYLE = 20  # a prompt of more words, or of several lines, is lyrics


# ── heartmula ───────────────────────────────────────────────────────────────────────────────────


class MusicGeneration(ModelRequest):
    """What `POST /v1/music/generations` takes."""

    prompt: str | None = Field(
        default=None, max_length=8000, description="A style; several lines or over 20 words are lyrics."
    )
    lyrics: str | None = Field(default=None, max_length=20_000)
    style: str | None = Field(default=None, max_length=4000, description="How it sounds; never sung.")
    tags: str | list[str] | None = Field(default=None, description="'electronic,ambient', or a list.")
    duration: float = Field(default=30.0, gt=0, le=MAX_DURATION_S, description="Seconds.")
    temperature: float = Field(default=1.0, ge=0, le=5)
    top_k: int = Field(default=50, ge=0, le=100_000)
    top_p: float | None = Field(default=None, ge=0, le=1)
    input: str | None = Field(default=None, max_length=8000, description="The same as prompt.")
    seed: Seed | None = None
    guidance_scale: float = Field(default=1.5, ge=0, le=30)
    model: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$",
        description="Default: heartmula if it is there, else the composer.",
    )

    @field_validator("tags")
    @classmethod
    def _few(cls, tags: str | list[str] | None) -> str | list[str] | None:
        if isinstance(tags, list) and (len(tags) > 50 or any(len(t) > 100 for t in tags)):
            raise ValueError("at most 50 tags of 100 characters each")
        return tags

    def order(self) -> SongOrder:
        """The song it asks for. Raises InvalidRequest."""
        prompt = self.prompt or self.input
        lyrics = self.lyrics
        if prompt and lyrics is None and _is_lyrics(prompt):
            prompt, lyrics = None, prompt
        tags = ", ".join(self.tags) if isinstance(self.tags, list) else self.tags
        sound = ", ".join(text.strip() for text in (self.style, tags, prompt) if text and text.strip())
        if not sound and not lyrics:
            raise InvalidRequest(
                "there is nothing to make music of: give a prompt, lyrics, style or tags", param="prompt"
            )
        model = self.model or _default_model()
        options: dict[str, Any] = {}
        if model != "composer":
            # Only what was asked: another model than heartmula has defaults of its own.
            asked = self.model_fields_set & {"temperature", "top_k", "top_p", "guidance_scale"}
            options = {name: getattr(self, name) for name in sorted(asked)}
        return _order(
            prompt=sound[:4000] or None, lyrics=lyrics, model=model, duration_s=self.duration, seed=self.seed,
            format="wav", options={k: v for k, v in options.items() if v is not None} or None,
        )  # fmt: skip


class MusicGenerated(BaseModel):
    """What `POST /v1/music/generations` answers."""

    id: str
    status: Literal["completed"] = "completed"
    audio_url: str = Field(examples=["/audio/art_4Xo0cWk9sZ2tGqLrNvY1eA.wav"])
    duration: float = Field(description="Real seconds.")
    prompt: str
    seed: int
    model: str
    song_url: str

    @classmethod
    def of(cls, song: Song, asked: MusicGeneration) -> MusicGenerated:
        audio = song.artifact("song")
        if audio is None:
            raise InvalidRequest("the song has no audio any more", param="id")
        return cls(
            id=song.id, audio_url=f"/audio/{audio.id}.{song.format}", duration=song.duration_s,
            prompt=asked.prompt or asked.input or "", seed=song.seed, model=song.model, song_url=f"/v1/songs/{song.id}",
        )  # fmt: skip


def _is_lyrics(prompt: str) -> bool:
    return len(prompt.strip().splitlines()) > 1 or len(prompt.split()) > _WORDS_OF_A_STYLE


def _default_model() -> str:
    """heartmula where it can work now: elsewhere, or here with its weights."""
    from tonewheel.fleet.consent import has_consent  # noqa: PLC0415  (the fleet is loaded on first use)
    from tonewheel.fleet.pull import is_pulled  # noqa: PLC0415

    if service_url("heartmula"):
        return "heartmula"
    try:
        card = registry.card("heartmula")
    except UnknownName:
        return "composer"
    return "heartmula" if has_consent(card) and is_pulled(card) else "composer"


# ── the orchestrator ────────────────────────────────────────────────────────────────────────────


class ComposeRequest(Jen1Request):
    """What `POST /jobs` and `POST /compose` take: a planner's request, and the model that makes the song."""

    model: str = Field(default="composer", pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")

    def order(self) -> SongOrder:
        """The song it asks for. Raises InvalidRequest, InvalidPlan."""
        said = {"model": self.model, "format": self.options.get("format"), "stems": self.options.get("stems")}
        if self.given_song is not None:
            return _order(plan=self.given_plan(), **said)
        asked = self.to_plan_request()
        words = {
            name: getattr(asked, name)
            for name in ("narrative", "style", "moods", "tempo", "key", "language", "lyrics", "title", "artist", "seed")
        }
        return _order(
            **{k: v for k, v in words.items() if v not in (None, ())}, duration_s=asked.duration_s,
            instrumental=asked.instrumental or None, **said,
        )  # fmt: skip


class JobCreated(BaseModel):
    """What `POST /jobs` answers."""

    jobId: str = Field(examples=["job_4Xo0cWk9sZ2tGqLrNvY1eA"])  # noqa: N815  (the contract's name)


class Composed(BaseModel):
    """What `GET /jobs/{id}` and `POST /compose` answer."""

    jobId: str  # noqa: N815
    status: Literal["queued", "running", "completed", "failed", "cancelled"]
    progress: float = Field(description="0 to 1.")
    stage: str | None = None
    eta_s: float | None = None
    error: JobError | None = None
    song: dict[str, Any] | None = Field(default=None, description="The GeneratedSong, once it is completed.")
    audio_url: str | None = None
    song_url: str | None = None
    duration: float | None = Field(default=None, description="Real seconds.")
    seed: int | None = None
    url: str

    @classmethod
    def of(cls, job: Job, song: Song | None) -> Composed:
        audio = song.artifact("song") if song is not None else None
        status = {"done": "completed", "poisoned": "failed"}.get(job.state, job.state)
        return cls.model_validate(
            {
                "jobId": job.id, "status": status, "progress": job.fraction, "stage": job.stage, "eta_s": job.eta_s,
                "error": job.error, "url": job_url(job.id), "song": generated_song(song),
                "audio_url": artifact_url(audio.id) if audio else None,
                "song_url": f"/v1/songs/{song.id}" if song else None,
                "duration": song.duration_s if song else None, "seed": song.seed if song else None,
            }
        )  # fmt: skip


def generated_song(song: Song | None) -> dict[str, Any] | None:
    """The plan of a song in jen1's words."""
    if song is None or song.plan is None:
        return None
    return to_generated_song(SongPlan.model_validate(song.plan))


def _order(**values: Any) -> SongOrder:
    try:
        request: SongRequest = song_request(**values)
    except InvalidRequest as wrong:
        if wrong.param != "duration_s":
            raise
        raise InvalidRequest(wrong.message.replace("duration_s", "duration"), param="duration") from None
    return SongOrder(**{name: getattr(request, name) for name in request.model_fields_set})
