"""Whether the client is still there: work nobody waits for any more is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

T = TypeVar("T")


async def client_left(receive: Receive) -> None:
    """Ends when the client closes its connection; what it still sends until then is dropped."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def while_here(receive: Receive, work: Coroutine[Any, Any, T], read: asyncio.Event | None = None) -> T:
    """What `work` returns. Raises ClientDisconnect when the client goes away before: `work` is cancelled and has
    ended by then. `read` is set once `work` has read the body, where it does."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(receive, read))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(receive: Receive, read: asyncio.Event | None) -> None:
    if read is not None:
        await read.wait()  # two readers of one body would each get half of it
    await client_left(receive)
