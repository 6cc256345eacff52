"""HTTP/1.1 with as little work per request as possible: a connection carries one request at a time.

The parser is the one that the server uses; requests are bytes that were built before the run.
"""

import asyncio
import ssl
from asyncio import BaseTransport, Transport
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpResponseParser

PAUSE = 0.05
"""Seconds before a lost connection is opened again: a server that is gone is not hammered."""
MOST_TEXT = 2048
"""Bytes that are kept of an answer that is not 200."""
LOST = "connection"
"""The kind of an error without a status: the connection was refused or closed."""


class Server(NamedTuple):
    """Where requests go: an origin, and what stands before each path."""

    host: str
    port: int
    secure: bool
    prefix: str

    @classmethod
    def of(cls, url: str) -> "Server":
        """From an address that a ``Client`` has accepted."""
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        return cls(parts.hostname or "", port, secure, parts.path.rstrip("/"))

    def request(self, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
        """A whole POST request, ready to be sent."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        lines = [f"POST {self.prefix}{path} HTTP/1.1", f"Host: {host}:{self.port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {len(body)}", "", ""]
        return "\r\n".join(lines).encode("latin-1") + body


class Answer(NamedTuple):
    """``kind`` is the status as text, or LOST; ``text`` begins as the body does, empty with 200."""

    kind: str
    text: bytes


class Lane:
    """A connection that is opened again when it was closed; ``ended`` is told of every answer.

    ``due`` is when the request on its way was due; ``busy`` whether there is one.
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
        """Send a request that was due then."""
        self.due, self.busy = due, True
        if self._line is None:
            self._opening = asyncio.get_running_loop().create_task(self._ask_anew(request))
        else:
            self._line.send(request)

    def close(self) -> None:
        """Give up what is on its way; nobody is told."""
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
        """The connection has an answer, and stays open if it ``keeps``."""
        if not keeps:
            self._line = None
        self._end(answer)

    def lost(self, line: "_Line") -> None:
        """A connection is closed."""
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
    """The protocol of one connection: bytes to answers."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._parser = HttpResponseParser(self)
        self._text = b""
        self._keeps = True

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
