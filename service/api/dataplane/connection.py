"""Limits of every connection, whatever is requested over it.

uvicorn limits neither the size of a request head nor the time in which it arrives, buffers what a
client does not read, drops the body of a request that offers an upgrade, and logs a line for
everything that is not HTTP. Here each of these has a limit, and an answer.
"""

import logging
from collections.abc import Iterable
from time import perf_counter
from typing import Any

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.api.transport.exchange import LookOut
from service.api.transport.http10 import keep_open, offers_keep_alive
from service.api.transport.keep_alive import KeepAlive
from service.api.transport.reading import LINGER_SECONDS, Lingering
from service.api.transport.traffic import Traffic

_log = logging.getLogger(__name__)
Header = tuple[bytes, bytes]
MAX_HEAD = 64 * 1024
"""Bytes of the address and the headers of one request."""
MAX_PIPELINED = 1000
"""Requests that one connection may send ahead of its answers."""
HALF_CLOSE_SECONDS = 1.0
"""After the head of a request, in which a client may shut down its sending side and still get the
answer. Later it is taken for a client that disconnected, which looks the same to a server."""


class _NoHead(list[Header]):
    """The list of headers outside of a head. Trailers after a body are dropped."""

    def append(self, _: Header) -> None:
        """Drop a trailer."""


NO_HEAD = _NoHead()


class Ended(Exception):  # noqa: N818 - stops the parser; it is no error
    """The rest of what the connection sends is ignored."""


class Connection(HttpToolsProtocol):
    """uvicorn's HTTP protocol within bounds.

    ``patience`` is the timeout in seconds for a request head, for a client that reads nothing of
    an answer, and for an answer to a client that has shut down its sending side.
    """

    def __init__(
        self,
        look_out: LookOut,
        lingering: Lingering,
        patience: float,
        traffic: Traffic,
        **rest: Any,
    ) -> None:
        super().__init__(**rest)
        self._look_out = look_out
        self._lingering = lingering
        self._traffic = traffic
        self._patience = patience
        idle = self.timeout_keep_alive
        self._keep_alive = KeepAlive(self.loop, idle, self.timeout_keep_alive_handler)
        # All mutable state beside uvicorn's: the bytes of an incomplete head, those of the packet
        # in which it began, and when its timeout started; since when the client has read nothing,
        # and how much was buffered then; since when bytes are read and dropped; requests that were
        # unanswered when others followed them; whether an upgrade was offered; when the last
        # request began, and since when the client's sending side is shut down; whether the
        # connection is ending, and the error to send before that.
        self.headers = NO_HEAD
        self._came = self._head_bytes = self._first_bytes = 0
        self._owed: float | None = None
        self._stuck: tuple[float, int] | None = None
        self._unwanted: float | None = None
        self._ahead: list[Any] = []
        self._upgrade = False
        self._began = 0.0
        self._half_closed: float | None = None
        self.ended = False
        self._last_words: bytes | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the header timeout."""
        super().connection_made(transport)
        self._owed = perf_counter()
        self._look_out.open(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell all requests that their client disconnected; uvicorn tells the last one only."""
        self._look_out.close(self)
        self._lingering.remove(self)
        self._traffic.forget(self)
        self._keep_alive.cancel()
        for cycle in self._ahead:
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self._ahead.clear()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio takes a bool
        """Whether the connection stays open after the client's sending side was shut down, for
        answers that are due."""
        if self.transport.is_closing() or self._unwanted is not None:
            self.hang_up()
        elif self.headers is not NO_HEAD or getattr(self.cycle, "more_body", False):
            self.end(400, "the client stopped sending in the middle of a request")
        elif self._half_closed is None and self._just_asked():
            self._half_closed = perf_counter()
            self._look_out.open(self)
        stays = self._half_closed is not None or self._last_words is not None
        return stays and self._owes_answers()

    def _just_asked(self) -> bool:
        cycle = self.cycle
        if cycle is None or getattr(cycle, "response_started", False):
            return False  # the end of an answer in parts is unknown
        return perf_counter() - getattr(cycle, "started", self._began) < HALF_CLOSE_SECONDS

    def data_received(self, data: bytes) -> None:
        """Parse what was received."""
        self._keep_alive.end()
        self._came = self._head_bytes + len(data)
        self._feed(data)
        if self.headers is not NO_HEAD:
            self._await_head()
        elif self._owed is not None:
            self._head_bytes, self._owed = 0, None
            self._let_be()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if not self.ended and isinstance(error.__context__, MemoryError):
                _log.error("out of memory while a request was read")
                self.end(503, "the server is out of memory: try again")
            elif not self.ended:
                self.end(400, f"this is not HTTP/1.1: {error}")

    def _await_head(self) -> None:
        if not self._head_bytes:
            self._first_bytes = self._came
        self._head_bytes = self._came
        if self._came - self._first_bytes > 2 * MAX_HEAD:
            self._refuse_head()
        elif self._owed is None:
            self._owed = perf_counter()
            self._look_out.open(self)

    def on_message_begin(self) -> None:
        """Begin a request; the scope that ASGI wants is made when it is known to be wanted."""
        if self.ended:
            raise Ended
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        """Hand the request to the application, behind those that are under way."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if len(self.pipeline) >= MAX_PIPELINED:
                self.end(503, f"more than {MAX_PIPELINED} requests wait on this connection")
                raise Ended
            self._ahead.append(cycle)
        url, given, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self._began = perf_counter()
        self.url, self.expect_100_continue = url, expects
        self.headers += given
        super().on_headers_complete()
        self.headers = NO_HEAD
        if self.parser.get_http_version() == "1.0" and offers_keep_alive(given):
            keep_open(self.cycle)

    def passes(self) -> bool:
        """Whether a head that is complete is one to go on with.

        Raises:
            Ended: it is not, and the client has been told.
        """
        if self._came > MAX_HEAD:
            size = len(self.url) + sum(len(n) + len(v) + 4 for n, v in self.headers)
            if size > MAX_HEAD:
                self._refuse_head()
                raise Ended
        if self.expect_100_continue and self.parser.get_http_version() == "1.0":
            self.expect_100_continue = False  # HTTP/1.0 would take 100 for the answer
        if self.parser.should_upgrade():
            self._upgrade = True
            return False
        return True

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body, unless the answer has been given without it."""
        if self.cycle.response_complete:
            self.linger()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there."""
        if not self._upgrade:
            super().on_message_complete()
        if self._unwanted is not None:
            self._want()
            self._let_be()

    def on_response_complete(self) -> None:
        """Go on to the next request, or wait for it."""
        if self._last_words and not self._owes_answers():
            self._speak(self._last_words)
            return
        if self.pipeline:
            super().on_response_complete()
        else:
            self._rest()
        if self._ahead and not self.pipeline:
            self._ahead.clear()
        if self._half_closed is not None and not self._owes_answers():
            self.hang_up()
        if (self.flow.write_paused or self._last_words) and not self.transport.is_closing():
            self.flow.pause_reading()

    def _rest(self) -> None:
        """Wait for the next request. As in uvicorn, with another timer."""
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()
            self._keep_alive.begin()

    def pause_writing(self) -> None:
        """Write buffer full; stop reading."""
        super().pause_writing()
        if not self.transport.is_closing():
            self.flow.pause_reading()
        left = self.transport.get_write_buffer_size()
        self._stuck = (perf_counter(), left)
        self._traffic.keep(self, left)
        self._look_out.open(self)

    def silent_since(self) -> float:
        """When the client last read from the connection."""
        return self._stuck[0] if self._stuck else perf_counter()

    def drop(self) -> None:
        """Abort the connection, to free its write buffer."""
        self.transport.abort()

    def resume_writing(self) -> None:
        """Write buffer drained; resume reading."""
        super().resume_writing()
        self._stuck = None
        self._traffic.forget(self)
        self._let_be()
        if not (self.pipeline or self._last_words or self.transport.is_closing()):
            self.flow.resume_reading()

    def look(self, now: float) -> None:
        """Enforce the timeouts."""
        if self._owed is not None:
            if self.flow.read_paused:
                self._owed = now  # reading is paused by the server
            elif now - self._owed > self._patience:
                self._owed = None
                self._part()
        if self._stuck is not None:
            since, size = self._stuck
            left = self.transport.get_write_buffer_size()
            if self.flow.write_paused:
                self._traffic.keep(self, left)
            if left < size:
                self._stuck = (now, left)
            elif now - since > self._patience:
                self.transport.abort()
        if self._half_closed is not None and now - self._half_closed > self._patience:
            self.transport.close()  # the client has probably disconnected
        if self._unwanted is not None and now - self._unwanted > LINGER_SECONDS:
            self.hang_up()

    def _part(self) -> None:
        if self.headers is NO_HEAD:
            self.transport.close()  # nothing of a request has arrived
        else:
            self.end(408, f"the head of the request did not arrive within {self._patience:g} s")

    def linger(self) -> None:
        """Read and drop for a moment: closing while the client still sends would reset the
        connection, and the answer may be lost."""
        if self._unwanted is None:
            self._unwanted = perf_counter()
            self._look_out.open(self)
            self._lingering.add(self)

    def _want(self) -> None:
        self._unwanted = None
        self._lingering.remove(self)

    def hang_up(self) -> None:
        """Close the connection once the write buffer is sent, within the timeout."""
        self.ended = True
        self._want()
        self.transport.close()
        left = self.transport.get_write_buffer_size()
        if left:
            self._stuck = (perf_counter(), left)
            self._look_out.open(self)

    def end(self, status: int, error: str) -> None:
        """Answer with an error, after the answers that are due, and close the connection."""
        self.ended = True
        self._owed, self.headers = None, NO_HEAD
        body = orjson.dumps({"error": error})
        head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
        defaults = b"".join(b"%s: %s\r\n" % pair for pair in self.server_state.default_headers)
        words = STATUS_LINE[status] + defaults + head % len(body) + body
        if not self._owes_answers():
            self._speak(words)
        else:
            self._last_words = words
            self.flow.pause_reading()

    def _speak(self, words: bytes) -> None:
        if not getattr(self.cycle, "response_started", False) or self.cycle.response_complete:
            self.transport.write(words)
        self.hang_up()

    def _owes_answers(self) -> bool:
        """Whether complete requests are unanswered."""
        cycles: Iterable[Any] = (self.cycle, *(cycle for cycle, _ in self.pipeline), *self._ahead)
        return any(c and not (c.response_complete or c.more_body) for c in cycles)

    def _refuse_head(self) -> None:
        self.end(431, f"the head of the request has more than {MAX_HEAD} bytes")

    def _let_be(self) -> None:
        since = (self._owed, self._stuck, self._unwanted, self._half_closed)
        if since == (None, None, None, None):
            self._look_out.close(self)

    def _decline_upgrade(self, rest: bytes) -> None:
        """Ignore an upgrade and continue in HTTP/1.1, as RFC 9110 allows. The parser has taken the
        body for the other protocol, so that the request is parsed again without the offer."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        self._upgrade = False
        if method == b"CONNECT":
            self.end(405, "CONNECT is not allowed, this is no proxy")
            return
        lines = [b"%s %s HTTP/%s" % (method, self.url, version)]
        lines += [b"%s: %s" % pair for pair in self.headers if pair[0] not in UPGRADING]
        options = b",".join(value for name, value in self.headers if name == b"connection")
        kept = [o for o in options.lower().replace(b" ", b"").split(b",") if o not in UPGRADING]
        lines.append(b"connection: " + b",".join(kept) if kept else b"")
        head = b"\r\n".join(lines).rstrip() + b"\r\n\r\n"
        self.headers = NO_HEAD
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._feed(head + rest)


UPGRADING = (b"upgrade", b"connection", b"http2-settings")
"""Headers, and options of the header ``connection``, that offer another protocol."""
