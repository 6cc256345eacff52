"""The data plane as an ASGI callable in front of the control plane.

Most inference requests use the shorter path of ``call.py``. This module handles unusual requests,
and all requests under other ASGI servers.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from typing import Any

from starlette.datastructures import Headers as HeadersView

from service.api.auth.middleware import collect
from service.api.auth.policy import Access, Need
from service.api.dataplane.headers import Headers
from service.api.dataplane.inference import Inference
from service.api.offload.lanes import Elsewhere
from service.api.protocol.json_tensors import Buffer, Bytes
from service.api.transport.answers import ALLOW, CLOSE, Answer, Header
from service.api.transport.body import (
    PIECE,
    ClientGone,
    Receive,
    compress,
    decompressed,
    read_body,
    swallow,
    wanted_encoding,
)
from service.api.transport.exchange import Exchange, LookOut
from service.api.transport.refusal import turned_away
from service.api.transport.target import Target, target_of
from service.core.body_cost import LARGE
from service.core.errors import (
    UNANSWERED,
    BodyTimeout,
    MalformedRequest,
    MethodNotAllowed,
    ShuttingDown,
    Unauthenticated,
)
from service.core.memory_budget import Reservation
from service.core.tensors import Arrays

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_log = logging.getLogger(__name__)
WATCH_AFTER = 0.05
"""Seconds after which the server watches whether the client of a waiting request disconnects."""
ONCE = {b"content-length", b"content-encoding", b"inference-header-content-length"}
"""Headers that define how to read the body."""


class DataPlane:
    """Answers inference requests and passes all other requests to the control plane."""

    def __init__(self, control: App, inference: Inference, access: Access) -> None:
        self._control = control
        self._access = access
        self._inference = inference
        self._look_out = LookOut()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        target = target_of(scope["path"]) if scope["type"] == "http" else None
        if target is None:
            await self._control(scope, receive, send)
        elif (refusal := self._refusal(scope)) is not None:
            await refusal(scope, receive, send)
        elif scope["method"] == "OPTIONS":
            await send({"type": "http.response.start", "status": 204, "headers": [ALLOW]})
            await send({"type": "http.response.body", "body": b""})
        else:
            await self._serve(target, scope, receive, send)

    def _refusal(self, scope: Scope) -> App | None:
        """Return the answer to a request without a known key, if predictions need one."""
        if not self._access.api.digests:
            return None
        try:
            self._access.admit(Need.API_KEY, collect(scope["headers"]))
        except Unauthenticated as error:
            return turned_away(error, HeadersView(scope=scope))
        return None

    async def _serve(self, target: Target, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        exchange = _TaskExchange(target, self._inference, headers, receive)
        self._look_out.open(exchange)
        try:
            answer = await self._answer(exchange, scope, headers, receive)
        except (ClientGone, asyncio.CancelledError) as end:
            self._inference.abandon(exchange)
            self._inference.finish(exchange)
            if isinstance(end, ClientGone):
                return
            raise
        finally:
            self._look_out.close(exchange)
        unread = exchange.reading and _has_body(headers)
        if (unread or self._inference.leaving) and CLOSE not in answer.headers:
            answer = answer._replace(headers=(*answer.headers, CLOSE))
        try:
            elsewhere, held = self._inference.elsewhere, exchange.held
            answer = await _compressed(answer, headers, elsewhere, held)
            await _send(send, answer, exchange.request_id, unread, receive)
        finally:
            self._inference.finish(exchange)

    async def _answer(
        self, exchange: "_TaskExchange", scope: Scope, headers: Headers, receive: Receive
    ) -> Answer:
        inference = self._inference
        try:
            if scope["method"] != "POST":
                raise MethodNotAllowed(f"{scope['method']} on {scope['path']}, expected POST")
            _check_once(scope["headers"])
            body = await self._body(exchange, headers, receive)
            asking = inference.ask(exchange, headers, body, exchange.reply)
            del body  # free the memory while waiting for the outputs
            return await asking
        except asyncio.CancelledError as cancelled:
            if exchange.gone:
                raise ClientGone from None
            if not (exchange.late or inference.leaving):
                raise
            exchange.task.uncancel()
            seconds = inference.body_timeout
            error: Exception = ShuttingDown(UNANSWERED)
            if exchange.late:
                error = BodyTimeout(f"the body did not arrive within {seconds:g} s")
            error.__cause__ = cancelled
            return inference.refuse(exchange, error)
        except ClientGone:
            raise
        except Exception as failure:
            return inference.refuse(exchange, failure)

    async def _body(self, exchange: "_TaskExchange", headers: Headers, receive: Receive) -> Bytes:
        limit, grown = self._inference.body_limit, exchange.grown
        exchange.expect(limit)
        sent = await read_body(headers, receive, limit, grown)
        exchange.reading, exchange.weighed = False, 0
        return await decompressed(sent, headers, limit, self._inference.elsewhere, grown)


class _TaskExchange(Exchange):
    """A request that is handled by its own asyncio task."""

    def __init__(
        self, target: Target, inference: Inference, headers: Headers, receive: Receive
    ) -> None:
        super().__init__(target, inference.request_id(headers))
        self._headers = headers
        self._traffic = inference.traffic
        self._seconds = inference.body_timeout
        self._receive = receive
        self._watched = False
        task = asyncio.current_task()
        assert task is not None, "an ASGI callable is run by a task"
        self.task = task
        self.reply: asyncio.Future[Arrays] = task.get_loop().create_future()
        self.reading, self.late, self.gone = True, False, False

    def expect(self, limit: int) -> None:
        """Reserve memory for a large body from its Content-Length, if it is within the limit.

        Raises:
            MemoryFull, BodyTooLarge: see ``Traffic``.
        """
        length = self._headers.get(b"content-length", b"0")
        if length.isdigit() and LARGE < int(length) <= limit:
            packed = b"content-encoding" in self._headers
            self._traffic.expect(self, int(length), packed or self._raw)

    def grown(self, body: Bytes) -> None:
        """Reserve memory for the part of the body that has arrived or was decompressed."""
        self._traffic.grow(self, body, self._raw)

    @property
    def _raw(self) -> bool:
        return b"inference-header-content-length" in self._headers

    def look(self, now: float) -> None:
        """Cancel a body that takes too long, and watch whether the client disconnects."""
        waited = now - self.started
        if self.reading:
            if waited > self._seconds and not self.late:
                self.late = True
                self.task.cancel()
        elif waited > WATCH_AFTER and not self._watched:
            self._watched = True
            watcher = asyncio.ensure_future(self._until_gone())
            self.reply.add_done_callback(lambda _: watcher.cancel())

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self.reply.cancel()


def _check_once(headers: Iterable[Header]) -> None:
    found: set[bytes] = set()
    for name, _ in headers:
        if name in ONCE and name in found:
            raise MalformedRequest(f'the header "{name.decode()}" appears twice, expected once')
        found.add(name)


def _has_body(headers: Headers) -> bool:
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


async def _compressed(
    answer: Answer, headers: Headers, elsewhere: Elsewhere, held: Reservation | None
) -> Answer:
    encoding = wanted_encoding(headers, answer.size)
    if encoding is None:
        return answer
    parts = (answer.body, *answer.rest)
    try:
        body = await compress(parts, answer.size, encoding, elsewhere, held)
    except (MemoryError, RuntimeError) as error:  # no memory, or no thread
        _log.error("an answer was not compressed: %s", error)
        return answer
    return answer.encoded(encoding, body)


def _pieces(parts: Iterable[Buffer]) -> Iterator[bytes]:
    """Yield copies of the parts in pieces: ASGI applications may send bytes only."""
    for part in parts:
        for start in range(0, len(part), PIECE):
            yield bytes(part[start : start + PIECE])


async def _send(
    send: Send, answer: Answer, request_id: bytes, unread: bool, receive: Receive
) -> None:
    status, headers, body, rest = answer
    own = [(b"content-length", b"%d" % answer.size), (b"x-request-id", request_id)]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *own]})
    parts = (body, *rest)
    if answer.size > PIECE:
        for piece in _pieces(parts):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        parts = ()
    last = b"".join(parts)
    await send({"type": "http.response.body", "body": last, "more_body": unread})
    if unread:
        await swallow(receive)
        await send({"type": "http.response.body", "body": b""})
