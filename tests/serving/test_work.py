"""Waiting for work, and loading a model, without a process."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from typing import Any

import pytest
from pydantic import BaseModel

from tonewheel.errors import InvalidRequest, TonewheelError
from tonewheel.models import registry
from tonewheel.models.base import Card, Family, Model, ModelRequest, Result, RunContext, Upload, WorkRoute
from tonewheel.serving import threads
from tonewheel.serving.host import Host
from tonewheel.serving.metrics import Metrics
from tonewheel.serving.work import Caller, Order, Work
from tonewheel.telemetry import TraceContext


def test_a_listener_called_off_at_the_moment_of_the_news_stops_listening() -> None:
    # asyncio.wait_for of Python 3.11 loses such a cancel: the stream went on, its work and its slot with it.
    async def main() -> None:
        work = Work.__new__(Work)
        work._limit_s, work._started, work._news = 60.0, time.monotonic(), asyncio.Event()
        listening = asyncio.create_task(work._wait(60.0))
        await asyncio.sleep(0.05)
        work._news.set()
        listening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await listening

    asyncio.run(main())


def test_a_collection_after_a_request_does_not_go_through_the_loaded_model() -> None:
    """Work that was cancelled is followed by one; over all of torch it held up the others' work for a second."""

    async def main() -> None:
        family = registry.families()["composer"]
        host = Host(family, family.cards[0])
        await host.load()
        try:
            assert host.state == "ready"
            assert gc.get_freeze_count() > 10_000 > len(gc.get_objects())
        finally:
            host.close()

    try:
        asyncio.run(main())
    finally:
        gc.unfreeze()


def test_a_thread_that_still_gives_memory_back_has_ended_well_however_long_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    giving, given = threading.Event(), threading.Event()

    def slowly(*, collect: bool) -> None:
        giving.set()
        assert given.wait(120)

    monkeypatch.setattr(threads, "_give_back", slowly)
    monkeypatch.setattr(threads, "_LONG_S", 0.0)
    at_work = threads.Threads(1, "worker")
    at_work.submit(lambda: None).result(120)
    assert giving.wait(120)
    threading.Timer(0.3, given.set).start()
    assert at_work.close(timeout_s=0.0)


def test_a_job_that_does_not_end_is_told() -> None:
    begun, end = threading.Event(), threading.Event()
    at_work = threads.Threads(2, "worker")

    def job() -> None:
        begun.set()
        end.wait(120)

    done = at_work.submit(job)
    assert begun.wait(120)
    assert not at_work.close(timeout_s=0.1)
    end.set()
    done.result(120)


def test_what_a_job_came_to_is_counted_before_its_slot_is_seen_free() -> None:
    async def main() -> None:
        host = Host(FAMILY, CARD)
        await host.load()
        try:
            busy: list[int] = []
            assert await host.start(lambda: 7, RunContext(), lambda done: busy.extend([host.busy, done.result()])) == 7
            assert (busy, host.busy) == ([1, 7], 0)
        finally:
            host.close()
            gc.unfreeze()

    asyncio.run(main())


# ── what is left of a request ───────────────────────────────────────────────────────────────────


class Recording(ModelRequest):
    audio: Upload


class Listener(Model[Recording]):
    """Tells how long a file is, and refuses the empty one."""

    def load(self, context: RunContext) -> None: ...

    def validate(self, request: Recording) -> Recording:
        return request

    def run(self, request: Recording, context: RunContext) -> Result:
        context.progress("listen", 0.5)
        if not request.audio:
            raise InvalidRequest("audio: is empty")
        return Result({"bytes": len(request.audio)})

    def release(self) -> None: ...


CARD = Card(id="listener", family="listener", title="Listener", tasks=("embed",), revision="r1", code_license="MIT",
            weight_license="MIT", sample_rate=None, channels=1, max_duration_s=10.0, devices=("cpu",), concurrency=1,
            service="listener", default_port=48714)  # fmt: skip
FAMILY = Family("listener", "Listener", (CARD,), Recording, BaseModel, Listener, lambda *_: 1)


@pytest.mark.parametrize("audio", [b"sound", b""], ids=["answered", "refused"])
@pytest.mark.parametrize("told", [False, True], ids=["at once", "as a stream"])
def test_a_request_that_is_over_leaves_nothing_for_the_collector(audio: bytes, told: bool) -> None:
    """A circle around it would hold its files until the next whole collection: megabytes, some 500 requests long."""

    async def main() -> None:
        host = Host(FAMILY, CARD)
        await host.load()
        gc.disable()
        try:
            left = await one(host, audio, told)
            async with asyncio.timeout(60):
                while any(one() is not None for one in left):  # its thread lets go a moment later
                    await asyncio.sleep(0.01)
        finally:
            gc.enable()
            gc.unfreeze()
            host.close()

    def begun(host: Host, audio: bytes) -> tuple[Work, weakref.ref[Any]]:
        request = Recording(audio=audio)
        order = Order(request, request, WorkRoute("/predict", "", Recording, BaseModel), None)
        return Work(host, Metrics(host), order, Caller("id", TraceContext.child_of(None)), 60.0), weakref.ref(request)

    async def one(host: Host, audio: bytes, told: bool) -> list[weakref.ref[Any]]:
        work, request = begun(host, audio)
        try:
            if told:
                assert [news.stage async for news in work.news(10.0)][-1:] == ["listen"]  # type: ignore[union-attr]
            answer = await work.answer()
            assert answer is not None and answer.body["bytes"] == len(audio)
        except TonewheelError as error:
            assert not audio and isinstance(error, InvalidRequest)
            return [request]  # the work is held by its error, as long as that is
        return [request, weakref.ref(work)]

    asyncio.run(main())
