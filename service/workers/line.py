"""A connection to a dedicated worker. It carries one request at a time, in HTTP/1.1.

h11 reads and writes the protocol: https://h11.readthedocs.io
"""

import asyncio
import select
from collections.abc import Iterable
from time import monotonic
from typing import Any

import h11

from service.api.dataplane.asgi import Scope, Send
from service.api.transport.answers import Header
from service.api.transport.between import CLIENT
from service.api.transport.body import ClientGone, Receive
from service.core.errors import MalformedRequest, NotReady

OF_ONE_CONNECTION = frozenset(
    {
        b"connection",
        b"date",
        b"expect",
        b"http2-settings",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Headers that are not forwarded: those of one connection (RFC 9110, 7.6.1), and those that the
server adds to each reply itself."""
PIECE = 256 * 1024
"""Bytes of an answer to read at once."""


class Lost(NotReady):
    """The worker closed the connection before its answer was complete."""

    def __init__(self) -> None:
        super().__init__("the worker of the model ended before its answer was complete: try again")


class Line:
    """One connection, from its streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        # All mutable state: the protocol, whether the answer has begun, and the time at which the
        # last answer was complete.
        self._http = h11.Connection(h11.CLIENT)
        self.answered = False
        self._idle_since = monotonic()

    def usable(self, seconds: float) -> bool:
        """Return True if another request can be sent: the worker has not closed the connection, and
        it was idle for less than ``seconds``."""
        idle = monotonic() - self._idle_since < seconds
        return idle and not self._writer.is_closing() and not self._has_news()

    def _has_news(self) -> bool:
        """Return True if the worker has closed the connection, whether or not the event loop has
        noticed. The socket is asked, because a request that was sent too late could not be repeated
        safely: if it has ended the worker, it would also end the next one."""
        poll = select.poll()
        poll.register(self._writer.get_extra_info("socket"), select.POLLIN)
        return bool(poll.poll(0))

    def renew(self) -> bool:
        """Prepare for the next request. Return False if the connection cannot carry one."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        self.answered = False
        self._idle_since = monotonic()
        return True

    def close(self) -> None:
        """Close the connection. The worker treats it as a client that disconnected."""
        self._writer.close()

    async def ask(self, scope: Scope, receive: Receive) -> None:
        """Send a request, then wait until the client disconnects.

        Raises:
            MalformedRequest: the request cannot be forwarded.
            ClientGone: the client disconnected.
            Lost: the worker closed the connection.
        """
        try:
            head = self._http.send(_head(scope)) or b""
        except h11.LocalProtocolError as error:
            raise MalformedRequest(f"the request cannot be passed on: {error}") from None
        # Sent before the body has arrived: the worker enforces the timeout of the body.
        self._writer.write(head)
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            body, more = message.get("body", b""), message.get("more_body", False)
            words = self._http.send(h11.Data(body)) or b"" if body else b""
            if not more:
                words += self._http.send(h11.EndOfMessage()) or b""
            try:
                self._writer.write(words)
                await self._writer.drain()
            except ConnectionError:
                raise Lost from None
        while (await receive())["type"] != "http.disconnect":
            pass
        raise ClientGone

    async def answer(self, send: Send) -> None:
        """Forward the answer as it arrives, at the pace of the client.

        Raises:
            Lost: the worker closed the connection.
        """
        part = b""  # received, not forwarded yet: the last part is sent together with the end
        while True:
            event = self._next()
            if event is h11.NEED_DATA:
                await _pass_on(send, part)
                part = b""
                await self._read()
            elif isinstance(event, h11.Response):
                headers = [pair for pair in event.headers if pair[0] not in OF_ONE_CONNECTION]
                start = {"type": "http.response.start", "status": event.status_code}
                self.answered = True
                await send({**start, "headers": headers})
            elif isinstance(event, h11.Data):
                await _pass_on(send, part)
                part = bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                await send({"type": "http.response.body", "body": part, "more_body": False})
                return
            elif not isinstance(event, h11.InformationalResponse):
                raise Lost

    def _next(self) -> Any:
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError:
            raise Lost from None

    async def _read(self) -> None:
        try:
            self._http.receive_data(await self._reader.read(PIECE))
        except (h11.RemoteProtocolError, ConnectionError):
            raise Lost from None


async def _pass_on(send: Send, part: bytes) -> None:
    if part:
        await send({"type": "http.response.body", "body": part, "more_body": True})


def _head(scope: Scope) -> h11.Request:
    pairs: Iterable[Header] = scope["headers"]
    chunked = any(name == b"transfer-encoding" for name, _ in pairs)
    hosts = [pair for pair in pairs if pair[0] == b"host"][:1] or [(b"host", b"quantserve")]
    kept = [
        (name, value.strip())
        for name, value in pairs
        if name not in OF_ONE_CONNECTION
        and name != b"host"
        and not name.endswith(b"-bin")  # bytes in the metadata of gRPC
        and not (chunked and name == b"content-length")
    ]
    framing = [(b"transfer-encoding", b"chunked")] if chunked else []
    client = scope.get("client")
    origin = [(CLIENT, f"{client[0]} {client[1]}".encode())] if client else []
    query = scope.get("query_string", b"")
    target = scope["raw_path"] + (b"?" + query if query else b"")
    headers = [*hosts, *kept, *framing, *origin]
    return h11.Request(method=scope["method"], target=target, headers=headers)
