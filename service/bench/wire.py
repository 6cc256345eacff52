"""An HTTP/1.1 client with little work per request, with one request at a time per connection.

It uses the same parser as the server. Requests are bytes, built before the run.
"""

import asyncio
import ssl
from asyncio import BaseTransport, Transport
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpResponseParser

PAUSE = 0.05
"""Seconds before a lost connection is opened again, to limit reconnects to a stopped server."""
MOST_TEXT = 2048
"""The number of bytes that are kept of an answer without status 200."""
LOST = "connection"
"""The error kind of requests whose connection was refused or closed."""


class Server(NamedTuple):
    """The target of requests: an origin, and a prefix of all paths."""

    host: str
    port: int
    secure: bool
    prefix: str

    @classmethod
    def of(cls, url: str) -> "Server":
        """Parse a URL that a ``Client`` has accepted."""
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        return cls(parts.hostname or "", port, secure, parts.path.rstrip("/"))

    def request(self, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
        """Return the bytes of a POST request."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        lines = [f"POST {self.prefix}{path} HTTP/1.1", f"Host: {host}:{self.port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {len(body)}", "", ""]
        return "\r\n".join(lines).encode("latin-1") + body


class Answer(NamedTuple):
    """``kind`` is the status as text, or LOST. ``text`` is the start of the body, empty for 200."""

    kind: str
    text: bytes


class Lane:
    """A connection that is reopened after it was closed. ``ended`` is called with every answer.

    ``busy`` is True while a request is in flight; ``due`` is the time at which it was due.
    """

    def __init__(self, server: Server, ended: Callable[["Lane", Answer], None]) -> None:
        self.due = 0.0
        self.busy = False
        self._server = server
        self._ended = ended
        self._line: _Line | None = None
        self._opening: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect.

        Raises:
            OSError
        """
        server = self._server
        context = ssl.create_default_context() if server.secure else None
        loop = asyncio.get_running_loop()
        _, self._line = await loop.create_connection(
            lambda: _Line(self), server.host, server.port, ssl=context
        )

    def ask(self, request: bytes, due: float) -> None:
        """Send a request. ``due`` is the time at which it was due."""
        self.due, self.busy = due, True
        if self._line is None:
            self._opening = asyncio.get_running_loop().create_task(self._ask_anew(request))
        else:
            self._line.send(request)

    def close(self) -> None:
        """Abort the connection and the request in flight, without calling ``ended``."""
        self.busy = False
        if self._opening is not None:
            self._opening.cancel()
        if self._line is not None:
            self._line.abort()

    async def _ask_anew(self, request: bytes) -> None:
        try:
            await self.open()
        except OSError as error:
            await asyncio.sleep(PAUSE)
            self._end(Answer(LOST, (error.strerror or str(error)).encode()))
        else:
            assert self._line is not None
            self._line.send(request)

    def answered(self, answer: Answer, keeps: bool) -> None:
        """Called with a complete answer. ``keeps``: the connection stays open."""
        if not keeps:
            self._line = None
        self._end(answer)

    def lost(self, line: "_Line") -> None:
        """Called when a connection is closed."""
        if self._line is not line:
            return
        self._line = None
        if self.busy:
            answer = Answer(LOST, b"the server closed the connection without an answer")
            asyncio.get_running_loop().call_later(PAUSE, self._end, answer)

    def _end(self, answer: Answer) -> None:
        if self.busy:
            self.busy = False
            self._ended(self, answer)


class _Line(asyncio.Protocol):
    """The asyncio protocol of one connection. Parses answers."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._parser = HttpResponseParser(self)
        self._text = b""

    def connection_made(self, transport: BaseTransport) -> None:
        self._transport = cast(Transport, transport)
        self.send = self._transport.write
        self.abort = self._transport.abort

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserError:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._lane.lost(self)

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        if self._parser.get_status_code() != 200 and len(self._text) < MOST_TEXT:
            self._text += data[:MOST_TEXT]

    def on_message_complete(self) -> None:
        """Called by the parser."""
        status, text = self._parser.get_status_code(), self._text
        self._text = b""
        keeps = self._parser.should_keep_alive()
        self._lane.answered(Answer(str(status), text), keeps)
        if not keeps:
            self._transport.close()
