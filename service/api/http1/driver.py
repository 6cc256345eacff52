"""The asyncio protocol that drives a connection. It handles sockets and timers; the connection
makes the decisions."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from time import perf_counter
from typing import Any, Protocol

from service.api.http1.connection import MAX_HEAD, Connection, Limits
from service.api.http1.known_heads import KnownHeads
from service.api.http1.reply_head import (
    STATUS_LINES,
    connection_line,
    joined,
    lines_of,
    refusal,
)
from service.api.http1.request import Header, Receiver, Request
from service.api.http1.states import State
from service.api.http1.stream import Bytes, ReplyStream
from service.api.transport.answers import Answer
from service.api.transport.reading import FULL, Lingering, ReadTurns
from service.api.transport.traffic import Traffic

JOINED = 64 * 1024
"""Bytes; copying a longer body behind its head takes longer than sending it separately."""
_ANSWERING, _BODY = State.ANSWERING, State.BODY
_DISCARDING, _CLOSING = State.DISCARDING, State.CLOSING


class Host(Protocol):
    """The server that accepts connections; uvicorn's ``ServerState`` is one."""

    connections: set[Any]
    tasks: set[asyncio.Task[None]]
    default_headers: list[Header]
    """Headers of every reply; the list is replaced once a second, for the date."""


class Shared:
    """The objects that all connections of a server share."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self.known_heads = KnownHeads()
        self.turns = ReadTurns()
        self.lingering = Lingering()
        # The default headers as lines, and the list that the lines were made from.
        self._defaults: list[Header] | None = None
        self._lines = b""

    def default_lines(self, host: Host) -> bytes:
        """Return the headers of every reply, as lines."""
        headers = host.default_headers
        if headers is not self._defaults:
            self._defaults, self._lines = headers, joined(headers)
        return self._lines

    def refusal(self, host: Host, status: int, error: str) -> bytes:
        """Return an error reply that closes the connection."""
        return refusal(status, error, self.default_lines(host))


Route = Callable[[Request, "HTTPProtocol"], Receiver | None]
"""Returns the receiver that answers a request; None if it has replied already."""


class HTTPProtocol(asyncio.Protocol):
    """One connection."""

    def __init__(self, route: Route, shared: Shared, limits: Limits, host: Host) -> None:
        self.host = host
        self._route = route
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._connection = Connection(
            limits, partial(shared.refusal, host), perf_counter(), shared.known_heads
        )
        # All mutable state besides the connection's: the transport; whether a request is being
        # handed over; the timer, and when it is due; why reading is paused; whether the transport
        # reads; whether the connection is registered as lingering; the future that waits for the
        # write buffer.
        self.transport: Any = None
        self._proceeding = False
        self._timer: asyncio.TimerHandle | None = None
        self._due = inf
        self._body_full = self._in_turn = False
        self._reading = True
        self._lingers = False
        self._drained: asyncio.Future[None] | None = None

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the timeout of the first head."""
        self.transport = transport
        self.host.connections.add(self)
        self._settle()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the receivers that the client disconnected."""
        self.host.connections.discard(self)
        self._shared.lingering.remove(self)
        self._shared.traffic.forget(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        requests = self._connection.requests
        self._connection.close(perf_counter())
        while requests:
            request = requests.popleft()
            receiver, request.receiver = request.receiver, None
            if not request.reply_complete:
                request.reply_complete = True
                if receiver is not None:
                    receiver.disconnect()
        self._wake()
        # Parser and connection refer to each other. Thousands of such pairs would stay in memory
        # until the garbage collector finds them, and it pauses everything for that: 0.1 s after
        # 10,000 refused requests.
        self._connection.free()

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, and hand requests over."""
        connection = self._connection
        if len(data) <= MAX_HEAD or connection.state is _BODY:
            connection.receive(data, perf_counter())
        else:
            # Many small requests: the requests of one part are answered before the next part is
            # parsed.
            for at in range(0, len(data), MAX_HEAD):
                connection.receive(data[at : at + MAX_HEAD], perf_counter())
                self._proceed()
        if len(data) >= FULL:
            self._in_turn = connection.notable = True
            self._shared.turns.wait(self)
        if connection.requests:
            self._proceed()
        if connection.notable or connection.state is not _ANSWERING:
            self._settle()

    def eof_received(self) -> bool:
        """Handle that the client shut down its sending side. Return True if the connection stays
        open."""
        stays = self._connection.receive_eof(perf_counter())
        self._settle()
        return stays

    def pause_writing(self) -> None:
        """Stop reading, because the write buffer is full, until it is sent."""
        left = self.transport.get_write_buffer_size()
        self._connection.pause_writing(left, perf_counter())
        self._shared.traffic.keep(self, left)
        self._settle()

    def resume_writing(self) -> None:
        """Continue, because most of the write buffer is sent."""
        self._connection.resume_writing(perf_counter())
        self._shared.traffic.forget(self)
        self._wake()
        self._proceed()
        self._settle()

    # Called by the server.

    def shutdown(self) -> None:
        """Close after the replies that are due."""
        self._connection.shut_down(perf_counter())
        self._settle()

    def stop(self) -> None:
        """Tell the receivers of unanswered requests that the server stops."""
        for request in list(self._connection.requests):
            if request.receiver is not None and not request.reply_complete:
                request.receiver.stop()

    # Called by a receiver.

    @property
    def default_headers(self) -> bytes:
        """Headers of every reply, as lines."""
        return self._shared.default_lines(self.host)

    def reply(self, request: Request, answer: Answer, request_id: bytes) -> None:
        """Write a whole reply, and continue with the next request."""
        status, headers, body, rest = answer
        size = answer.size if rest else len(body)
        lines, closes = lines_of(headers)
        if closes:
            request.keep_alive = False
        if not request.keep_alive or request.head.version != "1.1":
            lines += connection_line(request)
        last = b"content-length: %d\r\nx-request-id: %b\r\n\r\n" % (size, request_id)
        defaults = self._shared.default_lines(self.host)
        parts = (STATUS_LINES[status], defaults, lines, last, body, *rest)
        # If there is no memory for this, nothing has been sent yet.
        whole = b"".join(parts) if size <= JOINED else None
        if whole is None:
            # One call, so that the write buffer's size includes every part.
            self.transport.writelines(parts)
        else:
            self.transport.write(whole)
        self.finish(request)

    def stream(self, request: Request, status: int, headers: Sequence[Header]) -> ReplyStream:
        """Begin a reply that is sent in parts."""
        return ReplyStream(self, request, status, headers)

    def send_continue(self, request: Request) -> None:
        """Tell the client to send the body, unless the body or the reply has begun."""
        if not (request.reply_begun or request.body or request.complete):
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def hold_body(self, hold: bool) -> None:
        """Pause reading if ``hold``, because the receiver has enough of the body; else resume."""
        if hold is not self._body_full:
            self._body_full = hold
            self._carry_out()

    def write(self, data: Bytes) -> None:
        """Send bytes, or buffer them."""
        if not self.transport.is_closing():
            self.transport.write(data)

    async def drained(self) -> None:
        """Wait until the client has read most of the write buffer, or has disconnected."""
        while self._connection.write_paused and not self.transport.is_closing():
            if self._drained is None:
                self._drained = self._loop.create_future()
            await asyncio.shield(self._drained)

    def finish(self, request: Request) -> None:
        """End a request whose reply is written; continue with the next request."""
        request.receiver = None
        self._body_full = False
        self._connection.reply_done(request, perf_counter())
        if not self._proceeding:
            if self._connection.requests:
                self._proceed()
            self._settle()

    def cut(self) -> None:
        """Close the connection in the middle of a reply, so that the client sees that it is not
        complete."""
        self._connection.close(perf_counter())
        self._settle()

    # Called by the registries of connections.

    def end_turn(self) -> None:
        """Resume reading after a pause in which other connections were read."""
        self._in_turn = False
        self._carry_out()

    def hang_up(self) -> None:
        """Close, although the client may still send."""
        self._connection.close(perf_counter())
        self._settle()

    def silent_since(self) -> float:
        """Return the time of ``perf_counter`` at which the client last read from the connection."""
        since = self._connection.stalled_since
        return perf_counter() if since is None else since

    def drop(self) -> None:
        """Abort the connection and free its write buffer."""
        self.transport.abort()

    # Actions that the connection requests.

    def _proceed(self) -> None:
        """Hand over the received part of the first request. When its reply is complete, continue
        with the next request."""
        connection, requests = self._connection, self._connection.requests
        self._proceeding = True
        while requests and not connection.write_paused and connection.state is not _CLOSING:
            request = requests[0]
            receiver = request.receiver
            if receiver is None:
                if not request.complete:
                    request.handed_over = perf_counter()
                receiver = self._route(request, self)
                if receiver is None or request.reply_complete:
                    continue  # refused because of its head
                request.receiver = receiver
            elif not request.has_news:
                break
            body, request.body, request.has_news = request.body, b"", False
            receiver.receive(body, request.complete)
            if not request.reply_complete:
                break
        self._proceeding = False

    def _settle(self) -> None:
        """Do what the connection requests: send, read, close, and set its timer."""
        connection = self._connection
        if connection.notable:
            self._carry_out()
        elif connection.state is not _ANSWERING and (deadline := connection.deadline) < self._due:
            self._wake_at(deadline)

    def _carry_out(self) -> None:
        connection, transport = self._connection, self.transport
        connection.notable = False
        words = connection.take_bytes()
        if words:
            transport.write(words)
        state = connection.state
        if connection.aborted:
            transport.abort()
        elif state is _CLOSING and not transport.is_closing():
            transport.close()
            connection.closing(transport.get_write_buffer_size(), perf_counter())
        reads = connection.reads and not (self._body_full or self._in_turn)
        if reads is not self._reading and not transport.is_closing():
            self._reading = reads
            if reads:
                connection.resume_reading(perf_counter())
                transport.resume_reading()
            else:
                transport.pause_reading()
        if (state is _DISCARDING) is not self._lingers:
            self._lingers = state is _DISCARDING
            if self._lingers:
                self._shared.lingering.add(self)
            else:
                self._shared.lingering.remove(self)
        if not self._reading or self._lingers:
            connection.notable = True  # until reading resumes and lingering ends
        if (deadline := connection.deadline) < self._due:
            self._wake_at(deadline)

    def _wake_at(self, deadline: float) -> None:
        """Set the timer to an earlier deadline. A timer that is due too early is not replaced:
        setting a timer for each request took a fortieth of the time of a small request."""
        if self._timer is not None:
            self._timer.cancel()
        self._due = deadline
        self._timer = self._loop.call_later(max(0.0, deadline - perf_counter()), self._look)

    def _look(self) -> None:
        self._timer, self._due = None, inf
        now, connection = perf_counter(), self._connection
        left = self.transport.get_write_buffer_size()
        if connection.write_paused:
            self._shared.traffic.keep(self, left)
        if connection.deadline <= now:
            connection.expire(left, now)
        self._carry_out()

    def _wake(self) -> None:
        """Continue a reply that is sent in parts."""
        if self._drained is not None:
            self._drained.set_result(None)
            self._drained = None
