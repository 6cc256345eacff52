"""Work for a client, until the client disconnects."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar

from service.api.transport.body import Receive

T = TypeVar("T")


async def until_gone(work: Awaitable[T], receive: Receive) -> T | None:
    """Return the result of ``work``. If the client disconnects first, cancel it; return None."""
    doing = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({doing, gone}, return_when=asyncio.FIRST_COMPLETED)
        return doing.result() if doing.done() else None
    finally:
        for task in (doing, gone):
            task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await doing


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
