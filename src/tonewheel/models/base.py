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

What the verbs take and give has files of its own (`card.py`, `request.py`, `results.py`, `run_context.py`);
families and services import all of it from here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel

from tonewheel.models.card import Card, CardFile, CardPart
from tonewheel.models.request import Metadata, ModelRequest, Seed, Upload
from tonewheel.models.results import Audio, Blob, Result
from tonewheel.models.run_context import Progress, RunContext

if TYPE_CHECKING:
    from tonewheel.songs.plan import SongPlan

__all__ = [
    "Audio", "Blob", "Card", "CardFile", "CardPart", "Estimate", "Family", "FileRoute", "InfoRoute", "Metadata",
    "Model", "ModelRequest", "Progress", "Result", "RunContext", "Seed", "Upload", "WorkRoute",
]  # fmt: skip

# ── the four verbs ──────────────────────────────────────────────────────────────────────────────

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
