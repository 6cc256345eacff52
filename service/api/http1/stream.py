"""A reply sent in parts, with back pressure."""

from collections.abc import Awaitable, Sequence
from typing import Protocol

from service.api.http1.reply_head import Framing, begin
from service.api.http1.request import Header, Request

Bytes = bytes | bytearray | memoryview


class Writer(Protocol):
    """The interface of a connection for a reply."""

    @property
    def default_headers(self) -> bytes:
        """The header lines of all replies."""

    def write(self, data: Bytes) -> None:
        """Send bytes, or buffer them."""

    def drained(self) -> Awaitable[None]:
        """Wait until the client has read most of the write buffer, or has disconnected."""

    def finish(self, request: Request) -> None:
        """End a request whose reply is written; continue with the next request."""

    def cut(self) -> None:
        """Close the connection in the middle of a reply, so that the client sees that it is not
        complete."""


class ReplyStream:
    """A reply sent in parts of any size. Parts are sent at once if the client reads them, otherwise
    at the client's pace. Only the write buffer is kept in memory.

    ``status`` and ``headers`` are sent at once. Without a header ``content-length``, the body is
    chunked. For HTTP/1.0, it ends when the connection is closed.
    """

    def __init__(
        self, writer: Writer, request: Request, status: int, headers: Sequence[Header]
    ) -> None:
        self._writer = writer
        self._request = request
        head, self._framing = begin(request, status, headers, writer.default_headers)
        request.reply_begun = True
        writer.write(head)

    @property
    def disconnected(self) -> bool:
        """True if the client has disconnected. Parts that are written then are dropped."""
        return self._request.reply_complete

    async def write(self, part: Bytes) -> None:
        """Send a part of the body, after the client has read enough of the previous parts."""
        await self._writer.drained()
        if part and not self.disconnected:
            self._write(part)

    def _write(self, part: Bytes) -> None:
        if self._framing is Framing.CHUNKED:
            self._writer.write(b"".join((b"%x\r\n" % len(part), part, b"\r\n")))
        elif self._framing is not Framing.NONE:
            self._writer.write(part)

    def end(self) -> None:
        """End the complete body."""
        if self.disconnected:
            return
        if self._framing is Framing.CHUNKED:
            self._writer.write(b"0\r\n\r\n")
        self._writer.finish(self._request)

    def abort(self) -> None:
        """Close the connection, because the rest of the body cannot be sent."""
        if not self.disconnected:
            self._writer.cut()
