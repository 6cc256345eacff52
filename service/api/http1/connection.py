"""One HTTP/1.1 connection without I/O, as a state machine over httptools.

The inputs are bytes and times. The outputs are requests, bytes to send, deadlines, and whether to
read and to close. States and timeouts are in ``states``. Two more timeouts apply in every state:
for a client that reads nothing of a reply, and for replies to a client that shut down its sending
side.
"""

import logging
from collections import deque
from collections.abc import Callable
from math import inf
from typing import NamedTuple

import httptools

from service.api.http1.http10 import offers_keep_alive
from service.api.http1.known_heads import HEAD_END, LONGEST, KnownHeads
from service.api.http1.request import Head, Header, Request
from service.api.http1.states import TIMEOUTS, TRANSITIONS, Event, Expiry, State

_log = logging.getLogger(__name__)
MAX_HEAD = 64 * 1024
"""Bytes of the address and the headers of one request."""
MAX_PIPELINED = 1000
"""Requests that one connection may send ahead of its replies."""
MOST_UNKNOWN = 8
LOOK_AGAIN = 32
"""After ``MOST_UNKNOWN`` heads in a row that were not known, only one head in ``LOOK_AGAIN`` is
looked up and learned: the heads of some clients all differ, as with an id in each."""
HALF_CLOSE_SECONDS = 1.0
"""After the head of a request, in which a client may shut down its sending side and still get the
reply. Later, it is treated as a disconnect, which looks the same to a server."""
STALL_CHECK_SECONDS = 0.05
"""Seconds between two checks for progress of a client with a full write buffer."""
UPGRADING = (b"upgrade", b"connection", b"http2-settings")
"""Headers, and options of the header ``connection``, that offer another protocol."""
# In Python 3.11 a member of an enumeration takes ten times as long to find as a global.
_OPENED, _HEAD, _BODY, _IDLE = State.OPENED, State.HEAD, State.BODY, State.IDLE
_ANSWERING, _DISCARDING = State.ANSWERING, State.DISCARDING
_ENDING, _CLOSING = State.ENDING, State.CLOSING
_HEAD_BEGUN, _HEAD_COMPLETE = Event.HEAD_BEGUN, Event.HEAD_COMPLETE
_BODY_COMPLETE, _ANSWERED = Event.BODY_COMPLETE, Event.ANSWERED


class Limits(NamedTuple):
    """Timeouts of a connection, in seconds."""

    head: float
    """For a whole request head."""
    keep_alive: float
    """For the next request after a reply."""
    linger: float
    """For a client to stop sending a body whose reply is sent."""
    stall: float
    """For a client that reads nothing of a reply; also for replies after a half-close."""
    half_close: float = HALF_CLOSE_SECONDS
    """See ``HALF_CLOSE_SECONDS``; 0 if clients never shut down only one side."""


class Ended(Exception):  # noqa: N818 - stops the parser; it is no error
    """Raised when nothing more of the connection is to be parsed."""


class Connection:
    """State of one connection. All times are seconds of one monotonic clock.

    ``refusal`` returns the bytes of an error reply that closes the connection, for a status and a
    text. ``now`` is the time at which the connection was opened. ``known`` has the heads that this
    and other connections have parsed.
    """

    def __init__(
        self,
        limits: Limits,
        refusal: Callable[[int, str], bytes],
        now: float = 0.0,
        known: KnownHeads | None = None,
    ) -> None:
        self._limits = limits
        self._refusal = refusal
        self._known = KnownHeads() if known is None else known
        self._seconds = [inf] * len(State)
        for state, timeout in TIMEOUTS.items():
            self._seconds[state] = getattr(limits, timeout.setting, inf)
        self._parser = self._new_parser()
        # All mutable state: the state and when it began; the time of the last call; the head that
        # is being parsed, with None as its headers if there is no head.
        self.state = _OPENED
        self._since = self._now = now
        self.requests: deque[Request] = deque()
        """Requests without a complete reply, in order. The first is being answered. The others
        wait for its reply."""
        self._url = b""
        self._headers: list[Header] | None = None
        # The number of requests since the last one with a known head.
        self._unknown = 0
        # The request whose body is received; whether an upgrade was offered; bytes of an incomplete
        # head, those of the packet in which it began, and of both with the packet being parsed.
        self._incoming: Request | None = None
        self._upgrade = False
        self._head_bytes = self._first_bytes = self._received = 0
        # Whether the write buffer is full, since when the client has read nothing of it, how much
        # was buffered then, and when that was checked last; when the client shut down its sending
        # side, and when its last request began; an error reply to send after the replies due.
        self.write_paused = False
        self.stalled_since: float | None = None
        self._buffered = 0
        self._checked = 0.0
        self._half_closed: float | None = None
        self._began = 0.0
        self._last_reply = b""
        self._to_send: list[bytes] = []
        self.aborted = False
        self.notable = True
        """True if anything but the state and its deadline may have changed since the driver set
        this to False. It spares the driver work for ordinary requests."""

    # Outputs.

    @property
    def reads(self) -> bool:
        """True if the driver should read from the client."""
        return (
            len(self.requests) < 2
            and not self.write_paused
            and not self._last_reply
            and self.state is not _CLOSING
        )

    @property
    def deadline(self) -> float:
        """The time at which to call ``expire``; infinity for never."""
        if self.state is _IDLE and self.stalled_since is None:  # nearly always
            return self._since + self._limits.keep_alive
        at = self._state_deadline()
        if self.stalled_since is not None:
            at = min(at, self._checked + STALL_CHECK_SECONDS)
        if self._half_closed is not None:
            at = min(at, self._half_closed + self._limits.stall)
        return at

    def take_bytes(self) -> bytes:
        """Return and clear the bytes to send that belong to no request."""
        if not self._to_send:
            return b""
        sent = b"".join(self._to_send)
        self._to_send.clear()
        return sent

    # Inputs.

    def receive(self, data: bytes, now: float) -> None:
        """Parse received bytes, and add requests to ``requests``."""
        self._now = now
        if self.state >= _ENDING:
            return
        self._received = self._head_bytes + len(data)
        if self.state is _IDLE or self.state is _OPENED:
            end = data.find(HEAD_END, 0, LONGEST)
            if end >= 0 and (self._unknown < MOST_UNKNOWN or not self._unknown % LOOK_AGAIN):
                end += len(HEAD_END)
                known = self._known.get(data[:end])
                if known is not None and len(data) - end == known.body_bytes:
                    self._begin_known(known, data[end:])
                    return
                if known is None:
                    self._learn(data[:end])
                    data = data[end:]
            self._unknown += 1
        self._feed(data)
        if self._headers is None:
            self._head_bytes = 0
            return
        if not self._head_bytes:
            self._first_bytes = self._received
        self._head_bytes = self._received
        if self._received - self._first_bytes > 2 * MAX_HEAD:
            self._refuse_head()

    def receive_eof(self, now: float) -> bool:
        """Record that the client shut down its sending side. Return True if the connection stays
        open for replies that are due."""
        self._now = now
        if self.state is _DISCARDING:
            self.close(now)
        elif self.state is _HEAD or self.state is _BODY:
            self._fail(400, "the client stopped sending in the middle of a request")
        elif self._half_closed is None and self._just_asked():
            self._half_closed = now
            self.notable = True
        waits = self._half_closed is not None or bool(self._last_reply)
        return waits and self.state is not _CLOSING

    def reply_done(self, request: Request, now: float) -> None:
        """Record that the reply to the active request is complete, or was cut off."""
        self._now = now
        request.reply_complete = True
        if self.requests and self.requests[0] is request:
            self.requests.popleft()
        if not request.complete and self.state is _BODY and self._incoming is request:
            self._move(Event.ANSWERED_EARLY)
        elif not request.keep_alive:
            self.close(now)
        elif self._last_reply:
            if not self._replies_due():
                self._send_last(self._last_reply)
        elif not self.requests:
            self.state = TRANSITIONS[self.state][_ANSWERED]
            if self.state is _IDLE:
                self._since = now
            if self._half_closed is not None:
                self.close(now)

    def pause_writing(self, buffered: int, now: float) -> None:
        """Record that the write buffer is full, with ``buffered`` bytes."""
        self.write_paused = True
        self._stall(buffered, now)

    def resume_writing(self, now: float) -> None:
        """Record that the client has read most of the write buffer."""
        self.resume_reading(now)
        self.write_paused = False
        self.stalled_since = None

    def resume_reading(self, now: float) -> None:
        """Record that reading resumes after a pause. The pause does not count for the timeout of
        the head. It does not count for a half-close either, which may have happened at any time of
        the pause."""
        self._began = now
        if self.state is _HEAD:
            self._since = now

    def shut_down(self, now: float) -> None:
        """Close after the replies that are due."""
        if self.requests:
            self.requests[-1].keep_alive = False
        else:
            self.close(now)

    def close(self, now: float, buffered: int = 0) -> None:
        """Close once the ``buffered`` bytes of the write buffer are sent, within the timeout."""
        self._now = now
        self._move(Event.CLOSED)
        if buffered:
            self._stall(buffered, now)

    def closing(self, buffered: int, now: float) -> None:
        """Record that the connection is closing, with ``buffered`` bytes left to send."""
        if buffered and self.stalled_since is None:
            self._stall(buffered, now)

    def expire(self, buffered: int, now: float) -> None:
        """Enforce the timeouts; ``buffered`` are the bytes in the write buffer."""
        self._now = now
        if self.stalled_since is not None and now >= self._checked + STALL_CHECK_SECONDS:
            if buffered < self._buffered:
                self._stall(buffered, now)
            elif now - self.stalled_since > self._limits.stall:
                self.aborted = True
            self._checked = now
        if self._half_closed is not None and now >= self._half_closed + self._limits.stall:
            self.close(now)  # the client has probably disconnected
        if now >= self._state_deadline():
            self._expire_state()

    def free(self) -> None:
        """Release the parser of a lost connection: it has a reference to the connection."""
        del self._parser

    # Endings.

    def _fail(self, status: int, error: str) -> None:
        """Reply with an error after the replies that are due, and close. A request whose reply was
        sent before its body was complete gets no second reply."""
        if self.state is _DISCARDING:
            self.close(self._now)
            return
        self._headers = None
        reply, incoming = self._refusal(status, error), self._incoming
        self._move(Event.FAILED)
        self.notable = True
        if self._replies_due():
            self._last_reply = reply
            if incoming is not None:
                self.requests.remove(incoming)
        else:
            self._send_last(reply)

    def _send_last(self, reply: bytes) -> None:
        if not (self.requests and self.requests[0].reply_begun):
            self._to_send.append(reply)
        self.close(self._now)

    def _replies_due(self) -> bool:
        """Return True if a complete request has no complete reply."""
        return any(request.complete for request in self.requests)

    def _refuse_head(self) -> None:
        self._fail(431, f"the head of the request has more than {MAX_HEAD} bytes")

    def _move(self, event: Event) -> None:
        state = TRANSITIONS[self.state][event]
        if state is not self.state:
            self.state, self._since = state, self._now
            if state >= _DISCARDING:
                self.notable = True

    # Timeouts.

    def _state_deadline(self) -> float:
        if self.state is _BODY:
            request = self._incoming
            if request is None or request.body_timeout is None:
                return inf
            return request.handed_over + request.body_timeout
        if self.state is _HEAD and not self.reads:
            return inf  # the server itself does not read
        return self._since + self._seconds[self.state]

    def _expire_state(self) -> None:
        expiry = TIMEOUTS[self.state].expiry
        if expiry is Expiry.HEAD_TIMEOUT:
            seconds = self._limits.head
            self._fail(408, f"the head of the request did not arrive within {seconds:g} s")
        elif expiry is Expiry.CLOSE:
            self.close(self._now)
        else:
            request = self._incoming
            assert request is not None and request.receiver is not None, "it set the timeout"
            request.body_timeout = None
            request.receiver.time_out()

    def _stall(self, buffered: int, now: float) -> None:
        self.stalled_since = self._checked = now
        self.notable = True
        self._buffered = buffered

    def _just_asked(self) -> bool:
        if not self.requests or self.requests[-1].reply_begun:
            return False  # the end of a reply in parts is unknown
        return self._now - self._began < self._limits.half_close

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        """Begin a request."""
        if self.state >= _ENDING:
            raise Ended
        if self.state is not _OPENED:
            self._since = self._now
        self.state = TRANSITIONS[self.state][_HEAD_BEGUN]
        self._url = b""
        self._headers = []

    def on_url(self, url: bytes) -> None:
        """Keep a part of the address."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a header of the head. Trailers after a body are dropped."""
        if self._headers is not None:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Begin the body of a request whose head is within bounds."""
        headers, parser = self._headers, self._parser
        assert headers is not None, "a head has begun"
        if self._received > MAX_HEAD:
            size = len(self._url) + sum([len(n) + len(v) + 4 for n, v in headers])
            if size > MAX_HEAD:
                self._refuse_head()
                raise Ended
        if parser.should_upgrade():
            self._upgrade = True
            return
        if len(self.requests) > MAX_PIPELINED:
            self._fail(503, f"more than {MAX_PIPELINED} requests wait on this connection")
            raise Ended
        self._headers = None
        version = parser.get_http_version()
        old = version == "1.0"
        # After a request that closes the connection, the parser reads nothing more.
        keep_alive = parser.should_keep_alive() and (not old or offers_keep_alive(headers))
        request = Request(Head(parser.get_method(), self._url, version, headers, keep_alive))
        self.state = TRANSITIONS[self.state][_HEAD_COMPLETE]
        self._began = self._now
        self._incoming = request
        self.requests.append(request)
        if len(self.requests) > 1:
            self.notable = True

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body, unless the reply is sent."""
        request = self._incoming
        if request is None or request.reply_complete:
            return
        request.has_news = True
        if not request.body:
            request.body = body
        elif type(request.body) is bytes:
            request.body = bytearray(request.body) + body
        else:
            request.body += body

    def on_message_complete(self) -> None:
        """End a request."""
        request = self._incoming
        if self._upgrade or request is None or self.state >= _ENDING:
            return
        self._incoming = None
        request.complete = request.has_news = True
        self._since = self._now
        self.state = TRANSITIONS[self.state][_BODY_COMPLETE]
        if request.reply_complete and not request.keep_alive:
            self.close(self._now)
            raise Ended

    # Known heads.

    def _begin_known(self, head: Head, body: bytes) -> None:
        """Begin and end a request without the parser, whose state between two requests is the same
        before and after."""
        request = Request(head)
        request.body, request.complete = body, True
        self.requests.append(request)
        self.state = _ANSWERING  # where HEAD_BEGUN, HEAD_COMPLETE and BODY_COMPLETE lead
        self._since = self._began = self._now
        self._unknown = 0

    def _learn(self, data: bytes) -> None:
        """Parse a head, and add it to the known heads."""
        self._feed(data)
        if len(self.requests) == 1 and self.state in (_BODY, _ANSWERING):
            request = self.requests[0]
            if not request.body:  # the head did not end before the end of the data
                self._known.add(data, request.head)

    # The parser.

    def _new_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        # Data after a request with "connection: close" is ignored and is not an error.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, MemoryError):
                _log.error("out of memory while a request was read")
                self._fail(503, "the server is out of memory: try again")
            elif self.state < _ENDING:
                self._fail(400, f"this is not HTTP/1.1: {error}")

    def _decline_upgrade(self, rest: bytes) -> None:
        """Ignore an upgrade and continue in HTTP/1.1, as RFC 9110 allows. The parser has treated
        the body as data of the other protocol, so the request is parsed again without the offer."""
        method, version = self._parser.get_method(), self._parser.get_http_version().encode()
        headers = self._headers or []
        self._upgrade = False
        if method == b"CONNECT":
            self._fail(405, "CONNECT is not allowed, this is not a proxy")
            return
        lines = [b"%s %s HTTP/%s" % (method, self._url, version)]
        lines += [b"%s: %s" % pair for pair in headers if pair[0] not in UPGRADING]
        options = b",".join(value for name, value in headers if name == b"connection")
        kept = [o for o in options.lower().replace(b" ", b"").split(b",") if o not in UPGRADING]
        lines.append(b"connection: " + b",".join(kept) if kept else b"")
        head = b"\r\n".join(lines).rstrip() + b"\r\n\r\n"
        self._parser = self._new_parser()
        self._feed(head + rest)
