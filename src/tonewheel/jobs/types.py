"""What is known of a job, as types."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from tonewheel.errors import TonewheelError

JobState = Literal["queued", "running", "done", "failed", "cancelled", "poisoned"]
EventType = Literal[
    "queued", "started", "progress", "retrying", "requeued", "done", "failed", "cancelled", "poisoned"
]  # fmt: skip
STATES: tuple[JobState, ...] = get_args(JobState)
ENDED: frozenset[str] = frozenset(("done", "failed", "cancelled", "poisoned"))


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class JobError(_Frozen):
    """The one error shape."""

    type: str = Field(examples=["disk_full"])
    message: str
    param: str | None = None
    retryable: bool = False
    http_status: int = Field(default=500, description="The status a caller that waited would have got.")

    @classmethod
    def of(cls, error: TonewheelError) -> JobError:
        return cls(
            type=error.type, message=error.told, param=error.param, retryable=error.retryable,
            http_status=error.http_status,
        )  # fmt: skip


class Job(_Frozen):
    """A durable request and how far it is. Times are seconds since 1970 by the database's clock."""

    id: str = Field(examples=["job_4Xo0cWk9sZ2tGqLrNvY1eA"])
    kind: str = Field(examples=["song"])
    state: JobState
    model: str = Field(description="Whose queue it stands in.", examples=["composer"])
    request: dict[str, Any] = Field(description="As it was asked.")
    priority: int = Field(description="0 goes first, 9 last; equals go in the order they came.")
    stage: str | None = Field(default=None, description="What is being done, such as `render` or `render: stems`.")
    fraction: float = Field(default=0.0, description="Of the whole job, 0 to 1; never goes back within one start.")
    eta_s: float | None = Field(default=None, description="Seconds until it is done, as far as can be told.")
    position: int | None = Field(default=None, description="Place in its queue, 1 = next; null once it has started.")
    attempts: int = Field(default=0, description="How often it was started.")
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    error: JobError | None = None
    song_id: str | None = Field(default=None, description="What came of it, once it is done.")
    deadline_s: float = Field(description="Seconds its render may take.")
    worker: str | None = Field(default=None, description="Who works on it, or did last.")
    idempotency_key: str | None = None
    request_id: str | None = Field(default=None, description="X-Request-Id of the request that brought it.")
    traceparent: str | None = Field(default=None, description="W3C trace context it was submitted in.")

    @property
    def ended(self) -> bool:
        return self.state in ENDED


class JobEvent(_Frozen):
    """One thing that happened to a job. `id` counts from 1 without gaps within the job."""

    id: int
    job_id: str
    type: EventType
    at: float
    data: dict[str, Any] = Field(default_factory=dict)

    @property
    def last(self) -> bool:
        """Nothing comes after it."""
        return self.type in ENDED


class JobPage(_Frozen):
    """Jobs, newest first."""

    jobs: tuple[Job, ...]
    next: str | None = Field(default=None, description="Pass it as `after` for the next page; null = that was all.")


class LaneCount(_Frozen):
    """How much waits and runs for one model."""

    model: str
    queued: int
    running: int
    slots: int = Field(description="Jobs all live workers together run at once for it.")
    oldest_queued_s: float | None = Field(default=None, description="How long the first in the queue has waited.")


class WorkerInfo(_Frozen):
    """A worker that has been heard of."""

    id: str
    host: str
    pid: int
    slots: dict[str, int] = Field(description="Jobs it runs at once, by model.")
    started_at: float
    beat_at: float
    alive: bool
