"""Taking an order in: one request becomes one durable job, or one for each variation."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence

import sqlalchemy as sa
from pydantic import Field, ValidationError
from starlette.datastructures import Headers

from tonewheel.errors import Conflict, InvalidRequest, TonewheelError, UnknownName
from tonewheel.fleet.clock import expected_here
from tonewheel.fleet.remote import CONTRACTS, deadline_seconds
from tonewheel.gateway.auth import Principal
from tonewheel.gateway.backend import Backend
from tonewheel.gateway.names import Named, checked_name
from tonewheel.gateway.options import check_options
from tonewheel.jobs import Job, SongRequest, song_request
from tonewheel.jobs.tables import jobs
from tonewheel.models import registry
from tonewheel.models.clock import ensure_in_time, longer_if_forced
from tonewheel.seeds import MAX_DRAWN, derive
from tonewheel.serving.work import Caller
from tonewheel.settings import service_url

MAX_VARIATIONS = 8
_KEY = re.compile(r"[\x21-\x7e]{1,160}")


class SongOrder(SongRequest):
    """What `POST /v1/songs` takes: a song request, how many variations of it, and how urgent it is."""

    variations: int = Field(
        default=1, ge=1, le=MAX_VARIATIONS, description="Songs to make of it, each a job of its own."
    )
    priority: int = Field(default=5, ge=0, le=9, description="0 goes first, 9 last.")

    def request(self) -> SongRequest:
        """The song request alone."""
        given = self.model_fields_set - {"variations", "priority"}
        return song_request(**{name: getattr(self, name) for name in given})


def idempotency_key(headers: Headers) -> str | None:
    """`Idempotency-Key`, if it is there. Raises InvalidRequest."""
    key = headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise InvalidRequest(
            "Idempotency-Key has 1 to 160 visible ASCII characters without spaces", param="Idempotency-Key"
        )
    return key


def shown_key(stored: str | None) -> str | None:
    """The key as the client wrote it."""
    return None if stored is None else stored.split(" ")[1] if stored.count(" ") >= 2 else stored


class Desk:
    """Takes orders. Blocking."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def order(self, order: SongOrder, caller: Caller, who: Principal, key: str | None) -> list[Job]:
        """The jobs of an order, on the disk when this returns; the first is the one asked for.

        Raises UnknownName, QueueFull, Conflict … When only some of the variations found room, none is kept,
        unless there is a key: then the next try adds the others.
        """
        requests = variations(self._checked(order.request()), order.variations)
        if key is not None:
            self._refuse_other_count(who, key, len(requests))
        made: list[Job] = []
        try:
            for i, request in enumerate(requests):
                made.append(self._submit(request, order.priority, caller, _stored(who, key, i, len(requests))))
        except TonewheelError:
            if key is None:
                self.cancel([job.id for job in made])
            raise
        return made

    def order_named(self, name: str, order: SongOrder, caller: Caller) -> tuple[Job, bool]:
        """The job of a song whose id the client chose, and whether it is new. Raises Conflict for another request."""
        if order.variations != 1:
            raise InvalidRequest("one id is one song: leave out variations, or use POST /v1/songs", param="variations")
        named = self._backend.names.get(checked_name(name))
        if named.job_id is not None and self._made_and_forgotten(named):
            raise Conflict(f"the song {name!r} was made long ago: GET it, or DELETE it to make it anew", param="id")
        request = self._checked(order.request())
        try:
            job = self._submit(request, order.priority, caller, named.order_key)
        except Conflict:
            raise Conflict(
                f"another song was ordered as {name!r}: choose another id, or DELETE /v1/songs/{name} when it is made",
                param="id",
            ) from None
        if named.job_id != job.id and not self._backend.names.set(named, job.id):
            self.cancel([job.id])  # it was ordered under a name that was deleted while it was
            return self.order_named(name, order, caller)
        return job, named.job_id is None

    def cancel(self, job_ids: Sequence[str]) -> None:
        """Take back what was ordered."""
        for job_id in job_ids:
            with contextlib.suppress(TonewheelError):
                self._backend.store.cancel(job_id)

    def _made_and_forgotten(self, named: Named) -> bool:
        query = sa.select(jobs.c.id).where(jobs.c.idempotency_key == named.order_key)
        return self._backend.database.read(lambda c: c.scalar(query)) is None

    def _submit(self, request: SongRequest, priority: int, caller: Caller, key: str | None) -> Job:
        deadline_s, expected_s = in_time(request)
        return self._backend.store.submit(
            request, priority=priority, idempotency_key=key, request_id=caller.request_id,
            traceparent=caller.trace.traceparent(), deadline_s=deadline_s, expected_s=expected_s,
        )  # fmt: skip

    def _checked(self, request: SongRequest) -> SongRequest:
        """The request as it can be done: what would fail in the job's first step is refused here."""
        request = self._with_model(request)
        if request.needs_planner and (request.narrative or request.lyrics or request.model == "composer"):
            _check_planning(request)
        return request

    def _with_model(self, request: SongRequest) -> SongRequest:
        """The request with a model that is there and makes songs. Raises UnknownName, InvalidRequest."""
        try:
            family, card = registry.resolve(request.model)
        except UnknownName:
            if request.model in CONTRACTS and service_url(request.model) is not None:
                check_options(request.options, None)
                return request  # a server elsewhere of which only its contract is known
            raise
        check_options(request.options, family)
        if not {"song", "music"} & set(card.tasks):
            raise InvalidRequest(
                f"{card.id} makes no songs (it is for: {', '.join(card.tasks)}): GET /v1/models lists the others",
                param="model",
            )
        if card.max_duration_s is not None and request.length_s > card.max_duration_s:
            raise InvalidRequest(
                f"duration_s is {request.length_s:g} s: {card.id} makes at most {card.max_duration_s:g} s",
                param="duration_s",
            )
        return request if card.id == request.model else request.model_copy(update={"model": card.id})

    def _refuse_other_count(self, who: Principal, key: str, count: int) -> None:
        others = [_stored(who, key, 0, n) for n in range(1, MAX_VARIATIONS + 1) if n != count]
        query = sa.select(jobs.c.id).where(jobs.c.idempotency_key.in_(others)).limit(1)
        if self._backend.database.read(lambda c: c.scalar(query)) is not None:
            raise Conflict(
                "this idempotency key was used before with another request: use a new key for a new request",
                param="idempotency_key",
            )


def _check_planning(request: SongRequest) -> None:
    """Raises what the planner would. Only a style, own lyrics or a tempo can be wrong in ways that it alone knows."""
    from tonewheel.songs.planner import make_plan  # noqa: PLC0415  (loaded in the thread that needs it)
    from tonewheel.styles.library import get_style  # noqa: PLC0415

    if request.lyrics is not None or request.tempo is not None:
        make_plan(request.plan_request())  # some 50 ms, for the few that need it
    elif request.style is not None:
        get_style(request.style)


def in_time(request: SongRequest) -> tuple[float, float | None]:
    """Seconds a render may take and what it will probably take, None = not known. Raises TooSlow.

    Its words are not known before it is planned; what it takes depends on its length and options only.
    """
    deadline_s = deadline_seconds(request.model, request.length_s)
    card = registry.cards().get(request.model)
    if card is None or service_url(request.model) is not None:
        return deadline_s, None  # it runs elsewhere, and refuses for itself
    family = registry.families()[card.family]
    body = {"prompt": "a song", "duration": request.length_s} | dict(request.options)
    try:
        asked = family.request.model_validate({k: v for k, v in body.items() if k in family.request.model_fields})
    except (ValidationError, TonewheelError):
        return deadline_s, None  # the model needs more than that, or refuses it: the job will tell
    expected = expected_here(family, card, asked)
    ensure_in_time(card, asked, expected, deadline_s)
    return longer_if_forced(deadline_s, asked, expected), None if expected is None else expected.seconds


def variations(request: SongRequest, count: int) -> list[SongRequest]:
    """`count` requests that differ in their seeds only; the first is the request itself."""
    seed = request.plan.seed if request.plan is not None else request.seed
    if seed is None:  # each job draws its own
        return [request] * count
    others: list[SongRequest] = []
    for i in range(1, count):
        new = derive(seed, "variation", i) & MAX_DRAWN
        if request.plan is not None:
            plan = request.plan.model_copy(update={"seed": new})
            change = {"plan": plan} | ({"seed": new} if request.seed is not None else {})
            others.append(request.model_copy(update=change))
        else:
            others.append(request.model_copy(update={"seed": new}))
    return [request, *others]


def _stored(who: Principal, key: str | None, index: int, count: int) -> str | None:
    """A client's key as it is kept: keys of different clients and of variations do not meet."""
    return None if key is None else f"{who.id} {key} {index}/{count}"
