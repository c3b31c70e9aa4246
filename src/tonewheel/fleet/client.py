"""`Fleet`: ask any model for work, wherever it runs.

    fleet = Fleet()
    answer = fleet.call("composer", {"narrative": "…"}, accept="audio/flac", progress=tell, deadline_s=300)
    answer.audio.read(), answer.fields["title"]

The model's process is started on first use; a model with a URL in the settings is used there. Blocking and
thread-safe; `acall` is the same for an event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from tonewheel.errors import (
    Cancelled,
    DeadlineExceeded,
    ModelCrashed,
    NotReady,
    ServiceBusy,
    TonewheelError,
    Unavailable,
    UnknownName,
)
from tonewheel.fleet import exchange, probe
from tonewheel.fleet.clock import expected_here
from tonewheel.fleet.consent import require_consent
from tonewheel.fleet.deadline import Deadline, within
from tonewheel.fleet.demand import audio_seconds, memory_need, read_request, work_seconds
from tonewheel.fleet.exchange import Answer, Order, Progress
from tonewheel.fleet.processes import Limits, Processes, Unload
from tonewheel.fleet.pull import require_pulled
from tonewheel.fleet.records import ModelFolder, Record, Records
from tonewheel.fleet.remote import CONTRACTS, Remotes, RemoteService, deadline_seconds
from tonewheel.keep_alive import KeepAlive, parse_keep_alive
from tonewheel.models import registry
from tonewheel.models.base import Card, Family
from tonewheel.models.clock import ensure_in_time
from tonewheel.settings import settings

log = logging.getLogger(__name__)

Asked = Callable[[], bool]

_BUSY_POLL_S = 0.1  # a slot is looked for so often, whatever the service says: its guess may be far off
_LOADING = "load"  # the stage told while a model is started
_LET_GO_S = 30.0  # work told to stop has stopped by then, or its process is ended
_DYING_S = 10.0  # a process that dies closes its doors a moment before it is gone, on a busy machine a long one


@dataclass(frozen=True, slots=True)
class Target:
    """A model as it was asked for. `family` and `card` are None for one known by its URL only."""

    name: str
    family: Family | None
    card: Card | None
    remote: RemoteService | None


@dataclass(frozen=True, slots=True)
class Address:
    """Where a service is, and the headers it wants to see. One that is `elsewhere` must not be told outside."""

    url: str
    headers: Mapping[str, str]
    elsewhere: bool


class Fleet:
    """All models this machine can use. One a process; `close` ends what it started."""

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        limits: Limits | None = None,
        processes: Processes | None = None,
        on_unload: Callable[[Unload], None] | None = None,
    ) -> None:
        self.records = processes.records if processes else Records(data_dir or settings().data_dir)
        self.processes = processes or Processes(self.records, limits or default_limits(), on_unload=on_unload)
        self.remotes = Remotes()
        self._threads = ThreadPoolExecutor(256, "fleet-call")
        self.records.clean()

    def __enter__(self) -> Fleet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every process this fleet started. Calls under way fail."""
        self.processes.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    # ── calling ──

    def call(
        self,
        model: str,
        request: Mapping[str, Any],
        *,
        accept: str | None = None,
        into: Path | None = None,
        keep_alive: KeepAlive = None,
        deadline_s: float | None = None,
        progress: Progress | None = None,
        cancelled: Asked | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Have a model do `request`, starting its process if need be, and wait for the answer.

        `accept` is an audio type ("audio/flac") to get files as bytes, or as files in the folder `into`; without it
        they are base64 in the fields. `deadline_s` bounds everything: start, waiting for a slot, work (default: what
        loading may take, and max(configured, 5 × duration + 30 s)). `progress` and
        `cancelled` are called from this thread's event loop and must be quick. `headers` may carry X-Request-Id and
        traceparent.

        Raises what the service told (InvalidRequest …), ServiceBusy, CannotFit, ModelFailed, ModelCrashed,
        NotPulled, ConsentRequired, Cancelled, DeadlineExceeded, UnknownName.
        """
        target = self.target(model)
        kept_s = parse_keep_alive(keep_alive, parse_keep_alive(settings().keep_alive))
        order = Order(request, accept, into, headers or {}, progress or _unheard)
        seconds = audio_seconds(request)
        if target.remote is not None:
            limit = deadline_s if deadline_s is not None else deadline_seconds(target.remote.name, seconds)
            deadline = Deadline(limit, cancelled)
            return self._remotely(target.remote, order, deadline)
        if deadline_s is None:  # waiting for a slot is bounded, too; the work has a deadline of its own
            deadline_s = settings().load_timeout_s + work_seconds(target.family, target.card, request)
        return self._here(target, order, kept_s, Deadline(deadline_s, cancelled))

    async def acall(self, model: str, request: Mapping[str, Any], **options: Any) -> Answer:
        """`call` for an event loop; a cancelled task cancels the work. `progress` comes from another thread."""
        gone = threading.Event()
        asked: Asked = options.pop("cancelled", None) or (lambda: False)
        options["cancelled"] = lambda: gone.is_set() or asked()
        future = self._threads.submit(lambda: self.call(model, request, **options))
        try:
            return await asyncio.wrap_future(future)
        finally:
            gone.set()

    def target(self, model: str) -> Target:
        """What a name means: a model id or a service's name. Raises UnknownName."""
        try:
            family, card = registry.resolve(model)
        except UnknownName:
            remote = self.remotes.of(model) if model in CONTRACTS else None
            if remote is None:
                raise
            return Target(model, None, None, remote)
        # A service's URL stands for the model it runs by default, not for every model of the family.
        default = card.id == family.cards[0].id
        remote = self.remotes.of(card.id, *((family.service,) if default else ()))
        return Target(card.id, family, card, remote)

    def require_usable(self, model: str) -> None:
        """Raises ConsentRequired or NotPulled for a model that would run here and cannot, and UnknownName."""
        target = self.target(model)
        if target.remote is None and target.card is not None:
            require_consent(target.card)
            require_pulled(target.card)

    # ── elsewhere ──

    def _remotely(self, remote: RemoteService, order: Order, deadline: Deadline) -> Answer:
        while True:
            try:
                return asyncio.run(within(remote.run(order), deadline))
            except ServiceBusy as busy:
                if busy.type not in (ServiceBusy.type, NotReady.type):
                    raise
                deadline.pause(max(_BUSY_POLL_S, min(busy.retry_after_s, 2.0)), busy)

    # ── here ──

    @contextlib.contextmanager
    def using(self, model: str, check: Callable[[], None], keep_alive: KeepAlive = None) -> Iterator[Address]:
        """Where a model's service is now; its process is started if need be and stays within the block.

        For whoever speaks HTTP with it (a proxy); `check` raises to give up waiting. Raises as `call`.
        """
        target = self.target(model)
        if target.remote is not None:
            with target.remote.running():
                yield Address(target.remote.url, target.remote.headers(), True)
            return
        family, card = target.family, target.card
        assert family is not None and card is not None
        require_consent(card)
        require_pulled(card)
        need, idle = memory_need(family, card, None)
        kept_s = parse_keep_alive(keep_alive, parse_keep_alive(settings().keep_alive))
        with self.processes.using(need, idle, service=family.service, keep_alive_s=kept_s, check=check) as record:
            yield Address(record.address, probe.headers(), False)

    def _here(self, target: Target, order: Order, kept_s: float, deadline: Deadline) -> Answer:
        family, card = target.family, target.card
        assert family is not None and card is not None
        request = read_request(family, order.body)
        require_consent(card)
        require_pulled(card)
        limit_s = deadline_seconds(card.id, request.audio_seconds())
        ensure_in_time(card, request, expected_here(family, card, request), limit_s)
        need, idle = memory_need(family, card, request)
        asked_at = time.monotonic()
        refused_at: float | None = None
        again = 0
        while True:
            use = self.processes.using(
                need, idle, service=family.service, keep_alive_s=kept_s, check=deadline.check,
                tell=lambda stage, fraction: order.progress(_LOADING, 0.0, None),
            )  # fmt: skip
            with use as record:
                ready_s = time.monotonic() - asked_at
                try:
                    answer = self._work(record, order, deadline)
                except NotReady as stopping:  # it was told to end between our finding it and our asking it
                    deadline.pause(_BUSY_POLL_S, stopping)
                    continue
                except _NeverArrived:  # whoever was told to end closes its door a while before it is gone
                    again += 1
                    refused_at = refused_at or time.monotonic()
                    if again > 3 and time.monotonic() - refused_at > _DYING_S:
                        raise Unavailable(f"model {card.id} cannot be reached") from None
                    deadline.pause(_BUSY_POLL_S, None)
                    continue
            self.processes.answered(card.id)
            return replace(answer, timings={**answer.timings, "ready": round(ready_s, 4)})

    def _work(self, record: Record, order: Order, deadline: Deadline) -> Answer:
        """Ask the process until it has a slot. Raises NotReady when it is ending, _NeverArrived when it is gone."""
        asked_at, slot = time.monotonic(), _Slot(self.records.of(record.model))
        while True:
            began_at, began = time.monotonic(), time.time()
            try:
                answer = asyncio.run(within(_ask(record, order, slot.accepted), deadline))
            except ServiceBusy as busy:
                if busy.type != ServiceBusy.type:
                    raise
                slot.busy = busy
                deadline.pause(_BUSY_POLL_S, busy)
                continue
            except (httpx.ConnectError, httpx.ConnectTimeout):
                raise _NeverArrived from None
            except httpx.HTTPError as error:
                raise self._broke_off(record, error, began) from None
            except (Cancelled, DeadlineExceeded) as ended:
                if slot.taken_at is not None:
                    self._see_it_stop(record, slot.taken_at)
                elif slot.busy is not None and isinstance(ended, DeadlineExceeded):
                    raise slot.busy from None  # it never began: trying again later is all there is to do
                raise
            waited, work = began_at - asked_at, time.monotonic() - began_at
            return replace(answer, timings={"slot": round(waited, 4), "work": round(work, 4)})

    def _broke_off(self, record: Record, error: httpx.HTTPError, asked_at: float) -> TonewheelError:
        """Why a connection ended in the middle; `asked_at` in seconds since the epoch."""
        folder = self.records.of(record.model)
        until = time.monotonic() + _DYING_S
        while record.process.alive() and time.monotonic() < until:
            time.sleep(0.02)
        if record.process.alive():
            return Unavailable(f"model {record.model} broke off its answer ({type(error).__name__})")
        current, noted = folder.record(), folder.crashes()  # in this order: who notes a crash forgets the process then
        if noted.last_at >= asked_at:  # somebody has seen it already
            words = noted.last_words[-3:]
        elif current is not None and current.process == record.process and current.state != "stopping":
            words = folder.last_words(3)
        else:
            return ModelCrashed(f"model {record.model} was stopped while it worked: try again")
        return ModelCrashed(
            f"model {record.model} crashed while it worked; it is started again at the next request", last_words=words
        )

    def _see_it_stop(self, record: Record, taken_at: float) -> None:
        """After a cancel or a deadline: the process gets a while to free its slot, taken at `taken_at`, for the next
        request, which may have it already; one that is stuck is ended."""
        folder = self.records.of(record.model)
        lease = folder.lease()

        def watch() -> None:
            try:
                free = probe.let_go(record.address, _LET_GO_S, lambda: folder.accepted_at() > taken_at)
                if not free and record.process.alive():
                    log.warning("model %s did not stop its work in %.0f s: it is ended", record.model, _LET_GO_S)
                    self.processes.kill(record, "it was stuck")
            finally:
                lease.unlink(missing_ok=True)

        threading.Thread(target=watch, name="fleet-let-go", daemon=True).start()


class _NeverArrived(Exception):
    """The request reached nobody: nothing was begun, it can be sent again."""


@dataclass
class _Slot:
    """Whether a request got a slot of the model, or why not."""

    folder: ModelFolder
    taken_at: float | None = None  # seconds since the epoch
    busy: ServiceBusy | None = None

    def accepted(self) -> None:
        self.folder.accepted()
        self.taken_at = self.folder.accepted_at()


async def _ask(record: Record, order: Order, accepted: Callable[[], None]) -> Answer:
    """The request itself. Loopback: no proxy of the environment, no certificates."""
    timeout = httpx.Timeout(None, connect=30.0)  # a model may compute for long; the deadline bounds it
    order = replace(order, headers={**order.headers, **probe.headers()})
    async with httpx.AsyncClient(base_url=record.address, timeout=timeout, trust_env=False, verify=False) as client:
        return await exchange.stream(client, order, accepted=accepted)


def _unheard(_stage: str, _fraction: float, _eta_s: float | None) -> None:
    pass


def default_limits() -> Limits:
    """As the settings say."""
    return Limits(
        load_timeout_s=settings().load_timeout_s,
        grace_s=settings().drain_s + 5,
        reserve_bytes=round(settings().memory_reserve_mb * 1e6),
    )
