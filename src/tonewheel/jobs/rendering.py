"""Between a job and whatever renders it: the `Renderer` protocol, its request and its answer.

`fleet_renderer.py` implements it by HTTP to a model's process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tonewheel.jobs.request import SongRequest
from tonewheel.songs.plan import SongPlan

Tell = Callable[[str, float, float | None], None]
"""`progress(stage, fraction, eta_s)`: what is done, the share of the whole render 0-1, seconds left or None.
Call it as often as you like; it is throttled. It never raises."""


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """What to render. `plan` is there when the model takes one or the user gave one."""

    model: str
    duration_s: float
    seed: int
    plan: SongPlan | None = None
    prompt: str | None = None
    lyrics: str | None = None
    midi: bool = False
    lrc: bool = False
    stems: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    scratch: Path = Path()  # an empty folder of this job on a disk with room; files may be left there
    request_id: str | None = None
    traceparent: str | None = None
    keep_alive: str | float | None = None  # how long the model stays loaded afterwards; None = as set


@dataclass(frozen=True, slots=True)
class RenderedSong:
    """What was rendered. `audio` is a file or bytes of any format `tonewheel.audio.read` knows."""

    audio: Path | bytes
    seed: int
    model: str
    revision: str = ""
    licence: str = ""
    tags: Mapping[str, Any] | None = None  # fields of audio.tags.Tags for the file; None = made from plan and request
    mastered: bool = False  # True: keep its loudness; False: it is brought to -14 LUFS
    midi: bytes | None = None
    lrc: bytes | None = None
    stems: Mapping[str, Path] = field(default_factory=dict)  # part → FLAC file
    timings: Mapping[str, float] = field(default_factory=dict)  # seconds, by stage
    details: Mapping[str, Any] = field(default_factory=dict)  # device, dtype, notes for the user


class Renderer(Protocol):
    """Makes the sound of a job. Called from several threads at once, at most `slots` times a model."""

    def slots(self) -> Mapping[str, int]:
        """Models it can render, and how many of each at once. Asked once, when the worker starts."""
        ...

    def render(
        self,
        request: RenderRequest,
        *,
        job_id: str,
        progress: Tell,
        deadline_s: float,
        cancelled: Callable[[], bool],
    ) -> RenderedSong:
        """Render, blocking. `cancelled()` is cheap: ask it at least once a second and raise Cancelled soon
        after it says True. Raise DeadlineExceeded after `deadline_s` seconds.

        Errors of the user (InvalidRequest …) end the job at once; those with `retryable` (ServiceBusy,
        NotReady, Unavailable, OutOfMemory) are tried again after a pause; DiskFull is not.
        """
        ...

    def close(self) -> None:
        """Let go of processes and connections. Called once, when nothing renders."""
        ...


@runtime_checkable
class Listener(Protocol):
    """A renderer that can also have recordings heard by models: what they sound like, where their beats are."""

    def embeds(self) -> str | None:
        """The model that would do it; None = there is none here. Quick."""
        ...

    def embed(self, audio: Path, *, deadline_s: float, cancelled: Callable[[], bool]) -> list[float]:
        """The vector of `audio`, by that model. Errors as for `Renderer.render`."""
        ...

    def tracks(self) -> str | None:
        """The model that would tell beats; None = there is none here. Quick."""
        ...

    def track(self, audio: Path, *, deadline_s: float, cancelled: Callable[[], bool]) -> Mapping[str, Any]:
        """Beats of `audio` by that model, in the words of `audio.rhythm`. Errors as for `Renderer.render`."""
        ...


class Planner(Protocol):
    """Makes a song plan of a request."""

    def plan(
        self, request: SongRequest, *, job_id: str, deadline_s: float, cancelled: Callable[[], bool]
    ) -> SongPlan | None:
        """A plan, or None where the model needs none. Errors as for `Renderer.render`."""
        ...
