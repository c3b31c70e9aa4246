"""What a client sees: jobs and songs as they are kept, with the addresses of what belongs to them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from tonewheel.gateway.orders import shown_key
from tonewheel.jobs import Job
from tonewheel.library import Artifact, Song, SongPage


class JobView(Job):
    """A job and where to go on."""

    url: str = Field(description="This job.", examples=["/v1/jobs/job_4Xo0cWk9sZ2tGqLrNvY1eA"])
    events_url: str = Field(description="Its events, server-sent.")
    song_url: str | None = Field(default=None, description="What came of it, once it is done.")


class OrderView(JobView):
    """The job of an order, and those of its further variations."""

    variations: tuple[JobView, ...] = Field(default=(), description="Jobs of the second variation and on.")


class JobPageView(BaseModel):
    """Jobs, newest first."""

    jobs: tuple[JobView, ...]
    next: str | None = Field(default=None, description="Pass it as `after` for the next page; null = that was all.")


class ArtifactView(Artifact):
    """A stored file and where it is."""

    url: str = Field(examples=["/v1/artifacts/art_4Xo0cWk9sZ2tGqLrNvY1eA"])


class SongView(Song):
    """A song that was made, and where its files are."""

    model_config = ConfigDict(protected_namespaces=())

    url: str = Field(description="This song.")
    audio_url: str | None = Field(default=None, description="The song itself: the file to play.")
    similarity: float | None = Field(default=None, description="How near it is to what was searched for: a cosine.")
    artifacts: tuple[ArtifactView, ...] = ()


class SongPageView(BaseModel):
    """Songs, newest first."""

    songs: tuple[SongView, ...]
    next: str | None = Field(default=None, description="Pass it as `after` for the next page; null = that was all.")
    total: int = Field(description="How many match in all.")


def job_url(job_id: str) -> str:
    return f"/v1/jobs/{job_id}"


def artifact_url(artifact_id: str) -> str:
    return f"/v1/artifacts/{artifact_id}"


def job_view(job: Job) -> JobView:
    return JobView(**_job_fields(job))


def order_view(made: list[Job]) -> OrderView:
    return OrderView(**_job_fields(made[0]), variations=tuple(job_view(j) for j in made[1:]))


def _job_fields(job: Job) -> dict[str, object]:
    return {
        **dict(job), "url": job_url(job.id), "events_url": f"{job_url(job.id)}/events",
        "song_url": None if job.song_id is None else f"/v1/songs/{job.song_id}",
        "idempotency_key": shown_key(job.idempotency_key),
    }  # fmt: skip


def song_view(song: Song) -> SongView:
    files = tuple(ArtifactView(**dict(a), url=artifact_url(a.id)) for a in song.artifacts)
    main = song.artifact("song")
    fields = {
        **dict(song), "artifacts": files, "url": f"/v1/songs/{song.id}",
        "audio_url": None if main is None else artifact_url(main.id),
    }  # fmt: skip
    return SongView(**fields)


def song_page_view(page: SongPage) -> SongPageView:
    return SongPageView(songs=tuple(song_view(s) for s in page.songs), next=page.next, total=page.total)


def similar_songs_view(found: list[tuple[Song, float]]) -> SongPageView:
    """Songs with their similarity, the nearest first; there is no further page."""
    songs = tuple(song_view(song).model_copy(update={"similarity": round(score, 6)}) for song, score in found)
    return SongPageView(songs=songs, total=len(songs))
