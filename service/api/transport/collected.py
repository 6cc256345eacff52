"""A request to an ASGI application of this process, and its whole answer."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from service.api.transport.answers import Answer, Header
from service.api.transport.body import Receive

Message = MutableMapping[str, Any]
App = Callable[[Message, Receive, Callable[[Message], Awaitable[None]]], Awaitable[None]]


async def collected(app: App, scope: Message, body: bytes) -> Answer:
    """Return the answer to a request with this body. Its client never disconnects."""
    status, headers, parts = 500, tuple[Header, ...](), list[bytes]()

    async def send(message: Message) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status, headers = message["status"], message.get("headers", ())
        else:
            parts.append(message.get("body", b""))

    await app(scope, read_again(body, _never), send)
    return Answer(status, tuple(headers), b"".join(parts))


def read_again(body: bytes, receive: Receive) -> Receive:
    """Return a callable that returns a body that was read before, then what follows it."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return left.pop() if left else await receive()

    return again


async def _never() -> Message:
    never: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
    return await never
