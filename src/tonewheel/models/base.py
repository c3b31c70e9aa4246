"""The contract of a model: what its card says, and the four verbs that run it.

A **family** is the code that runs some models; each lives in one folder `models/<name>/` whose
`__init__.py` binds `FAMILY` (a `Family`), or comes from elsewhere by an entry point of the group
`tonewheel.models`. Importing a family must be cheap: torch and its like are imported by `Model.load`.

    card = FAMILY.cards[0]              what is known before anything is loaded
    model = FAMILY.create(card)         an object, no weights yet
    model.load(context)                 1. weights into memory; progress, cancel
    request = model.validate(request)   2. what only the loaded model can refuse (422)
    result = model.run(request, ctx)    3. blocking work: progress and cancel through the context
    model.release()                     4. let go; the process may end after it

Whoever calls these verbs (`tonewheel.serving`) calls them from worker threads, never from an event
loop, and runs `run` at most `card.concurrency` times at once. Models know nothing of HTTP.
"""

from __future__ import annotations

import binascii
import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema, model_validator

from tonewheel.errors import Cancelled, DeadlineExceeded, InvalidRequest, TonewheelError
from tonewheel.songs.faults import no_base64
from tonewheel.songs.plan import MAX_SEED, SongPlan

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tonewheel.audio.formats import Format
    from tonewheel.audio.tags import Tags

__all__ = [
    "Audio", "Blob", "Card", "CardFile", "CardPart", "Family", "FileRoute", "InfoRoute", "Metadata", "Model",
    "ModelRequest", "Progress", "Result", "RunContext", "Seed", "Upload", "WorkRoute",
]  # fmt: skip

# ── the card ────────────────────────────────────────────────────────────────────────────────────

Task = Literal[
    "song", "plan", "music", "sound", "continuation", "melody", "embed", "classify", "beats", "transcribe", "separate",
    "midi",
]  # fmt: skip


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class CardFile(_Frozen):
    """A file of a model as it lies at its source."""

    path: str = Field(description="Relative to the source.")
    size_bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class CardPart(_Frozen):
    """Files that lie in a folder of the model's own folder and come from a source of their own."""

    folder: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="Where they lie in the model's.")
    source: str = Field(description="As a card's; with `pull --from FOLDER` they are taken from FOLDER/<folder>.")
    revision: str = "main"
    files: tuple[CardFile, ...] = ()
    patterns: tuple[str, ...] = ()

    @property
    def known(self) -> tuple[CardFile, ...]:
        """Its files by their place in the model's folder."""
        return tuple(f.model_copy(update={"path": f"{self.folder}/{f.path}"}) for f in self.files)


class Card(_Frozen):
    """What is known of a model before it is loaded."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$", description="Such as musicgen-small.")
    family: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$", description="The code that runs it.")
    title: str
    description: str = ""
    tasks: tuple[Task, ...] = Field(min_length=1)
    source: str = Field(default="built-in", description="built-in, hf:OWNER/NAME, a folder, or s3://…")
    revision: str = Field(default="", description="A commit of the source; for built-in models their version.")
    files: tuple[CardFile, ...] = ()
    patterns: tuple[str, ...] = Field(
        default=(),
        description="Where `files` is not known: names to take (*.json, unet/*.json …); hashes are the source's own.",
    )
    parts: tuple[CardPart, ...] = Field(default=(), description="What belongs beside them, from other sources.")
    code_license: str = Field(description="SPDX id.", examples=["Apache-2.0"])
    weight_license: str | None = Field(default=None, description="SPDX id or name; None = there are no weights.")
    consent_required: bool = Field(default=False, description="The weights restrict use: one recorded yes is needed.")
    forbids: str = Field(default="", description="What that licence forbids, in a few words of ours.")
    sample_rate: int | None = Field(default=None, description="Hz of the audio made or heard; None = no audio.")
    channels: int | None = None
    max_duration_s: float | None = Field(default=None, description="Longest audio of one request.")
    devices: tuple[Literal["cuda", "rocm", "mps", "cpu"], ...] = Field(
        default=("cpu",), min_length=1, description="Kinds of device it can run on, the best first."
    )
    concurrency: int = Field(default=1, ge=1, description="Requests run at once; one more is refused.")
    deadline_s: float | None = Field(default=None, description="Its own least deadline, where it needs a longer one.")
    service: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$", description="Name of its HTTP service.")
    default_port: int = Field(ge=1, le=65535)

    @property
    def size_bytes(self) -> int:
        """Bytes to pull, as far as they are known; 0 for a built-in model."""
        return sum(f.size_bytes for f in self.known)

    @property
    def known(self) -> tuple[CardFile, ...]:
        """The files whose hashes are known, those of parts too, by their place in the model's folder."""
        return (*self.files, *(f for part in self.parts for f in part.known))

    def shown(self) -> dict[str, Any]:
        """In plain JSON types, without the single files."""
        told = self.model_dump(mode="json", exclude={"files": True, "parts": {"__all__": {"files"}}})
        return told | {"size_bytes": self.size_bytes}


# ── requests ────────────────────────────────────────────────────────────────────────────────────


Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
ClientJobId = Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9._:-]{1,256}\z")]


_BASE64_PIECE = 4 * 2**18  # characters decoded at a time: the interpreter is free in between


def _bytes_of(value: object) -> object:
    """A file sent as base64 (a data URL too, line breaks allowed), or as bytes by a multipart form."""
    if not isinstance(value, str):
        return value
    text = value.partition(",")[2] if value.startswith("data:") else value
    text = "".join(text.split())
    try:
        if len(text) % 4:
            raise ValueError("padding")
        pieces = [binascii.a2b_base64(text[i : i + _BASE64_PIECE], strict_mode=True)
                  for i in range(0, len(text), _BASE64_PIECE)]  # fmt: skip
    except (binascii.Error, ValueError):
        raise no_base64("is not base64: send the file's bytes in standard base64 with padding") from None
    if not text:
        raise no_base64("is empty: send the file's bytes in base64")
    return b"".join(pieces)


Upload = Annotated[
    bytes, BeforeValidator(_bytes_of), WithJsonSchema({"type": "string", "format": "base64", "minLength": 1})
]


class ModelRequest(BaseModel):
    """What every request may carry; each family adds its own fields.

    Unknown fields are ignored, as clients of the existing contracts expect; a family with no such
    clients may forbid them (`model_config = ConfigDict(extra="forbid")`).
    """

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, protected_namespaces=())

    client_job_id: ClientJobId | None = Field(
        default=None, description="Your own name for this request: letters, digits and ._:- (1-256); echoed."
    )

    @model_validator(mode="before")
    @classmethod
    def _truth_is_no_number(cls, values: object) -> object:
        # Python and pydantic take true for 1; a duration of true is a mistake.
        for name, value in values.items() if isinstance(values, dict) else ():
            if isinstance(value, bool) and name in cls.model_fields and not _takes_bool(cls, name):
                raise InvalidRequest(f"{name}: write a value of its kind, not {str(value).lower()}", param=name)
        return values

    def audio_seconds(self) -> float:
        """Seconds of audio this request makes or hears: what the deadline is reckoned from."""
        duration = getattr(self, "duration", None)
        return float(duration) if isinstance(duration, (int, float)) else 0.0


class Metadata(BaseModel):
    """What every answer tells of how it was made. Filled in by the service, not by the model."""

    model_config = ConfigDict(protected_namespaces=())

    client_job_id: str | None = None
    trace_id: str = Field(description="32 hex digits; continued from an incoming traceparent.")
    span_id: str = Field(description="16 hex digits.")
    request_id: str
    model: str
    revision: str | None = None
    seed: int | None = Field(default=None, description="The seed used.")
    duration_s: float | None = Field(default=None, description="Real seconds of audio.")
    elapsed_s: float = Field(description="Seconds of work.")
    real_time_factor: float | None = Field(default=None, description="elapsed_s / duration_s; below 1 is faster.")
    device: str
    dtype: str


def _takes_bool(kind: type[BaseModel], name: str) -> bool:
    annotation = kind.model_fields[name].annotation
    return any(a in (bool, Any, object) for a in (annotation, *get_args(annotation)))


# ── results ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Audio:
    """Samples made: `samples` float32 [n, channels], full scale ±1. `format` is how JSON answers hold it."""

    samples: NDArray[np.float32]
    sample_rate: int
    format: Format = "wav"
    tags: Tags | None = None

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.sample_rate

    @property
    def channels(self) -> int:
        return int(self.samples.shape[1])


@dataclass(frozen=True, slots=True)
class Blob:
    """A whole file made beside the audio (MIDI, LRC …), already encoded."""

    data: bytes
    media_type: str
    file_name: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a run made.

    `fields` is the answer in plain JSON types, by the names of the family's response type; an `Audio`
    or a `Blob` may stand anywhere in it and becomes base64 text in JSON, or a link where bytes were
    asked for. `audio` is the main one, which `Accept: audio/…` answers (usually also in `fields`).
    `seed` is the one used; `duration_s` the real length of what was made or heard.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    audio: Audio | None = None
    seed: int | None = None
    duration_s: float | None = None


# ── running ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work is: `fraction` of the whole request, 0-1; `eta_s` seconds left, None = not known yet."""

    stage: str
    fraction: float
    eta_s: float | None = None


class RunContext:
    """The line between running work and whoever waits for it. Thread-safe.

    The work calls `progress` at each step (which also tells it to stop) or `check_cancelled` in
    between; the caller calls `cancel`. `deadline` is a `time.monotonic()` value, None = none.
    """

    def __init__(
        self,
        *,
        deadline: float | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        on_audio: Callable[[Audio], None] | None = None,
        request_id: str = "",
    ) -> None:
        self.deadline = deadline
        self.request_id = request_id
        self._on_progress = on_progress
        self._on_audio = on_audio
        self._started = time.monotonic()
        self._reason: TonewheelError | None = None
        self._stop = threading.Event()
        self._furthest = 0.0

    def progress(self, stage: str, fraction: float, eta_s: float | None = None) -> None:
        """Tell where the work is. Raises Cancelled or DeadlineExceeded when it is to stop.

        `fraction` never goes back; without `eta_s` it is reckoned from the time so far.
        """
        self.check_cancelled()
        self._furthest = max(self._furthest, min(1.0, fraction if math.isfinite(fraction) else 0.0))
        if self._on_progress is None:
            return
        if eta_s is None and self._furthest >= 0.05:  # before that it would be a guess
            eta_s = (time.monotonic() - self._started) * (1 - self._furthest) / self._furthest
        self._on_progress(Progress(stage, self._furthest, eta_s))

    def audio(self, chunk: Audio) -> None:
        """Hand out finished audio early, in order; for models that can stream."""
        self.check_cancelled()
        if self._on_audio is not None:
            self._on_audio(chunk)

    def check_cancelled(self) -> None:
        """Raises Cancelled (or the error given) after `cancel`, DeadlineExceeded after the deadline."""
        if self._stop.is_set():
            raise self._reason or Cancelled("the request was cancelled")
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise DeadlineExceeded("the work was stopped: it took longer than its deadline allows")

    def cancel(self, reason: str | TonewheelError = "the request was cancelled") -> None:
        """Ask the work to stop at its next step; from any thread, more than once (the first reason stays)."""
        if not self._stop.is_set():
            self._reason = Cancelled(reason) if isinstance(reason, str) else reason
            self._stop.set()

    @property
    def cancelled(self) -> bool:
        return self._stop.is_set()


RequestT = TypeVar("RequestT", bound=ModelRequest)


class Model(ABC, Generic[RequestT]):
    """One model in this process: the four verbs."""

    def __init__(self, card: Card) -> None:
        self.card = card
        self.device = "cpu"  # set by load to where it really runs
        self.dtype = "float32"

    @abstractmethod
    def load(self, context: RunContext) -> None:
        """Make it ready to run. Called once, before anything else; may take minutes.

        Raises OutOfMemory, MissingExtra, ModelBroken … with a message for the user.
        """

    def validate(self, request: RequestT) -> RequestT:
        """Refuse what only the loaded model can judge; quick. Raises InvalidRequest."""
        return request

    @abstractmethod
    def run(self, request: RequestT, context: RunContext) -> Result:
        """Do the work. Calls `context.progress` at least at every step of the model."""

    def release(self) -> None:
        """Give back what it holds. Called once, when nothing runs."""


# ── families ────────────────────────────────────────────────────────────────────────────────────


def _as_it_is(body: Any) -> Any:
    return body


def _answer_as_it_is(_body: Any, answer: dict[str, Any]) -> dict[str, Any]:
    return answer


@dataclass(frozen=True, slots=True)
class WorkRoute:
    """A further POST address that does the model's work, perhaps in another contract's words.

    `to_request(body)` turns its body into the family's request; `to_response(body, answer)` words the
    finished answer (the fields of the result, metadata in them, Audio and Blob still as objects).
    """

    path: str
    summary: str
    request: type[ModelRequest]
    response: type[BaseModel]
    to_request: Callable[[Any], ModelRequest] = _as_it_is
    to_response: Callable[[Any, dict[str, Any]], dict[str, Any]] = _answer_as_it_is


@dataclass(frozen=True, slots=True)
class InfoRoute:
    """A further GET address that tells something quickly; never counted as work."""

    path: str
    summary: str
    answer: Callable[[Model[Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class FileRoute:
    """A further GET address that sends files a family keeps, with ranges. `path` ends in `/{name}`.

    `find(name)` is the file of that name; it raises NotFound. The name comes from a client: it may be anything.
    """

    path: str
    summary: str
    find: Callable[[str], Path]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a request will take, from what was measured before. `device` is the kind it was measured on: cpu, cuda."""

    seconds: float
    device: str


@dataclass(frozen=True, slots=True)
class Family:
    """The code that runs some models. `cards[0]` is the default; all cards name this family and one service."""

    name: str
    title: str
    cards: tuple[Card, ...]
    request: type[ModelRequest]
    response: type[BaseModel]
    create: Callable[[Card], Model[Any]]  # imports what is heavy when called, loads nothing
    memory_bytes: Callable[[Card, Any], int]  # (card, request or None = loaded and idle) → bytes on its device
    routes: tuple[WorkRoute | InfoRoute | FileRoute, ...] = ()
    metadata_keys: tuple[str, ...] = ("metadata",)  # the symbolic services answer it under `meta` too
    max_body_bytes: int = 4 * 1024 * 1024  # families that take audio raise it
    from_plan: Callable[[SongPlan], dict[str, Any]] | None = None  # a plan in the words of its requests, None = by name
    estimate: Callable[[Card, Any], Estimate | None] | None = None  # of a request, without loading anything; quick

    @property
    def service(self) -> str:
        return self.cards[0].service

    @property
    def default_port(self) -> int:
        return self.cards[0].default_port
