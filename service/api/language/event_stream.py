"""Pieces of an answer as server-sent events, until the client disconnects.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

import orjson
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from service.api.transport.disconnect import until_gone

T = TypeVar("T")
DONE = b"data: [DONE]\n\n"
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


def event(document: Any) -> bytes:
    """Return a document as an event."""
    return b"data: " + orjson.dumps(document) + b"\n\n"


class EventStream(Response):
    """A response that sends events as they arrive. It ends after the last event, or as soon as the
    client disconnects. ``on_end`` is called in both cases."""

    media_type = "text/event-stream"

    def __init__(
        self, events: AsyncGenerator[bytes, None], on_end: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self._events = events
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the events end, or the client disconnects."""
        try:
            await until_gone(self._send(send), receive)
        finally:
            self._on_end()

    async def _send(self, send: Send) -> None:
        start: Message = {"type": "http.response.start", "status": 200}
        try:
            await send({**start, "headers": self.raw_headers})
            async for each in self._events:
                await send({"type": "http.response.body", "body": each, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await self._events.aclose()


async def merged(streams: Sequence[AsyncIterator[T]]) -> AsyncIterator[tuple[int, T]]:
    """Yield the items of several iterators as they arrive, each with the index of its iterator.

    Raises:
        Exception: an iterator raised it. All iterators are stopped.
    """
    if len(streams) == 1:
        async for item in streams[0]:
            yield 0, item
        return
    queue: asyncio.Queue[tuple[int, T] | Exception | None] = asyncio.Queue()

    async def pump(place: int, stream: AsyncIterator[T]) -> None:
        try:
            async for item in stream:
                queue.put_nowait((place, item))
            queue.put_nowait(None)
        except Exception as error:
            queue.put_nowait(error)

    tasks = [asyncio.ensure_future(pump(*pair)) for pair in enumerate(streams)]
    left = len(tasks)
    try:
        while left:
            found = await queue.get()
            if isinstance(found, Exception):
                raise found
            if found is None:
                left -= 1
            else:
                yield found
    finally:
        for task in tasks:
            task.cancel()
