"""Waiting for work, without a process."""

from __future__ import annotations

import asyncio
import time

import pytest

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
