"""Waiting for work, and loading a model, without a process."""

from __future__ import annotations

import asyncio
import gc
import time

import pytest

from tonewheel.models import registry
from tonewheel.serving.host import Host
from tonewheel.serving.work import Work


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
