"""What the library keeps, as types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

ArtifactKind = Literal["song", "stem", "midi", "lrc", "plan", "sidecar"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Artifact(_Frozen):
    """A stored file."""

    id: str = Field(description="Opaque.", examples=["art_4Xo0cWk9sZ2tGqLrNvY1eA"])
    song_id: str
    kind: ArtifactKind
    name: str = Field(description="File name to offer for a download; made by the server.", examples=["drums.flac"])
    media_type: str = Field(examples=["audio/mpeg"])
    size_bytes: int
    sha256: str = Field(description="Of the bytes; also its ETag.")
    created_at: float = Field(description="Seconds since 1970.")


class Song(_Frozen):
    """A song that was made: its plan, where it came from, and its files."""

    id: str = Field(examples=["song_9sZ2tGqLrNvY1eA4Xo0cWk"])
    title: str
    artist: str = "Tonewheel"
    model: str = Field(description="Which model made it.", examples=["composer"])
    revision: str = Field(default="", description="Of the model.")
    licence: str = Field(default="", description="Under which the model's weights let this file be used.")
    seed: int
    duration_s: float = Field(description="Measured, not asked.")
    format: str = Field(examples=["mp3"])
    prompt: str | None = None
    lyrics: str | None = None
    plan: dict[str, Any] | None = Field(default=None, description="The song plan, where there was one.")
    request: dict[str, Any] = Field(default_factory=dict, description="What was asked for.")
    timings: dict[str, float] = Field(default_factory=dict, description="Seconds each step took.")
    checks: dict[str, Any] = Field(default_factory=dict, description="What was measured of the sound.")
    analysis: dict[str, Any] = Field(default_factory=dict, description="What was heard in it: tempo, key …")
    details: dict[str, Any] = Field(default_factory=dict, description="What the model told: device, dtype …")
    job_id: str | None = Field(default=None, description="The job that made it.")
    created_at: float = Field(description="Seconds since 1970.")
    expires_at: float | None = Field(default=None, description="When it will be deleted; null = it is kept.")
    artifacts: tuple[Artifact, ...] = ()

    def artifact(self, kind: ArtifactKind) -> Artifact | None:
        """The first file of a kind."""
        return next((a for a in self.artifacts if a.kind == kind), None)


class SongPage(_Frozen):
    """Songs, newest first."""

    songs: tuple[Song, ...]
    next: str | None = Field(default=None, description="Pass it as `after` for the next page; null = that was all.")
    total: int = Field(description="How many match in all.")


@dataclass(frozen=True, slots=True)
class NewArtifact:
    """A file to be kept; `source` is a local file or the bytes themselves."""

    kind: ArtifactKind
    name: str
    media_type: str
    source: Path | bytes = b""


class Kept(NamedTuple):
    """A stored content."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class NewSong:
    """A song to be kept; see `Song` for the fields."""

    title: str
    model: str
    seed: int
    duration_s: float
    format: str
    files: tuple[NewArtifact, ...]
    id: str | None = None  # None = a new one
    artist: str = "Tonewheel"
    revision: str = ""
    licence: str = ""
    prompt: str | None = None
    lyrics: str | None = None
    plan: Mapping[str, Any] | None = None
    request: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    checks: Mapping[str, Any] = field(default_factory=dict)
    analysis: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    job_id: str | None = None
    expires_in_s: float | None = None
