"""Connections without a socket: bytes and times in; requests, bytes and deadlines out."""

from dataclasses import dataclass, field
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.http1.connection import (
    HALF_CLOSE_SECONDS,
    LOOK_AGAIN,
    MAX_HEAD,
    MAX_PIPELINED,
    MOST_UNKNOWN,
    STALL_CHECK_SECONDS,
    Connection,
    Limits,
)
from service.api.http1.known_heads import KnownHeads
from service.api.http1.request import Request
from service.api.http1.states import State
from tests.system.wire import chunked, get, post

LIMITS = Limits(head=30, keep_alive=5, linger=2, stall=20)
GET = get("/a")
POST = post("/b", b"body")


def refusal(status: int, error: str) -> bytes:
    return f"{status} {error}".encode()


def opened(*data: bytes, now: float = 100) -> Connection:
    """Return a connection that was opened at a time and then received these bytes."""
    connection = Connection(LIMITS, refusal, now)
    for part in data:
        connection.receive(part, now)
    return connection


def answer(connection: Connection, now: float = 100) -> None:
    """Reply to the first request."""
    connection.reply_done(connection.requests[0], now)


class Silent:
    """A receiver that records the notification of a timeout."""

    timed_out = 0

    def receive(self, chunk: bytes | bytearray, complete: bool) -> None: ...

    def time_out(self) -> None:
        self.timed_out += 1

    def disconnect(self) -> None: ...

    def stop(self) -> None: ...


# States.


@pytest.mark.parametrize(
    ("data", "state"),
    [
        (b"", State.OPENED),
        (b"\r\n", State.OPENED),
        (GET[:1], State.HEAD),
        (GET[:-1], State.HEAD),
        (GET, State.ANSWERING),
        (POST[:-4], State.BODY),
        (POST[:-1], State.BODY),
        (POST, State.ANSWERING),
        (POST + GET[:3], State.HEAD),
        (b"\0", State.CLOSING),
        (GET + b"\0", State.ENDING),
    ],
)
def test_the_state_follows_the_received_bytes(data: bytes, state: State) -> None:
    assert opened(data).state is state


def test_the_next_request_is_read_after_a_reply() -> None:
    connection = opened(POST)
    answer(connection)
    assert connection.state is State.IDLE
    connection.receive(GET, 101)
    assert connection.state is State.ANSWERING and connection.requests[0].head.url == b"/a"


def test_a_request_has_its_method_headers_and_body() -> None:
    (request,) = opened(POST).requests
    assert (request.head.method, request.head.url, request.head.version) == (b"POST", b"/b", "1.1")
    assert (b"content-length", b"4") in request.head.headers
    assert request.body == b"body" and request.complete and request.keep_alive


def test_trailers_are_dropped() -> None:
    body = chunked("/", b"x").replace(b"0\r\n\r\n", b"0\r\nX-Trailer: 1\r\n\r\n")
    (request,) = opened(body).requests
    assert request.body == b"x" and b"x-trailer" not in dict(request.head.headers)


@pytest.mark.parametrize(
    ("request_", "keeps"),
    [
        (GET, True),
        (get("/").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), False),
        (GET.replace(b"1.1", b"1.0"), False),
        (GET.replace(b"1.1\r\n", b"1.0\r\nConnection: keep-alive\r\n"), True),
    ],
)
def test_the_connection_stays_open_if_both_sides_allow_it(request_: bytes, keeps: bool) -> None:
    connection = opened(request_ + GET)
    answer(connection)
    assert (connection.state is not State.CLOSING) is keeps
    assert [request.head.url for request in connection.requests] == ([b"/a"] if keeps else [])


@pytest.mark.parametrize("option", [b"keep-alive", b"keep-alive\t", b"keep-alive ,", b"Keep-Alive"])
def test_a_connection_stays_open_only_if_the_parser_reads_on(option: bytes) -> None:
    line = b"1.0\r\nConnection: " + option + b"\r\n"
    connection = opened(GET.replace(b"1.1\r\n", line) + GET)
    answer(connection)  # the oldest httptools does not know an option before a tab
    assert (connection.state is State.CLOSING) is (len(connection.requests) == 0)


def test_http_1_0_gets_no_100_continue() -> None:
    asks = post("/", b"x", Expect="100-continue")
    assert opened(asks).requests[0].head.continue_expected
    assert not opened(asks.replace(b"1.1", b"1.0")).requests[0].head.continue_expected


def test_an_upgrade_is_declined_and_its_body_kept() -> None:
    offer = post("/", b"body", Connection="Upgrade, HTTP2-Settings, close", Upgrade="h2c")
    (request,) = opened(offer).requests
    assert request.body == b"body" and request.complete and not request.keep_alive
    assert (b"connection", b"close") in request.head.headers


# Errors.


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\0", b"400"),
        (b"GET / HTTP/1.1\r\nContent-Length: a\r\n\r\n", b"400"),
        (b"CONNECT a:1 HTTP/1.1\r\n\r\n", b"405"),
        (b"GET /" + b"a" * MAX_HEAD + b" HTTP/1.1\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * MAX_HEAD + b"\r\n\r\n", b"431"),
    ],
)
def test_invalid_and_oversized_requests_are_refused_and_the_connection_closed(
    data: bytes, status: bytes
) -> None:
    connection = opened(data)
    assert connection.take_bytes()[:3] == status
    assert connection.state is State.CLOSING
    connection.receive(GET, 101)
    assert not connection.requests


def test_a_head_without_an_end_is_refused() -> None:
    connection = opened(GET[:-2], *[b"A: " + b"a" * 1000 + b"\r\n"] * 130)
    assert connection.state is State.HEAD
    for _ in range(5):
        connection.receive(b"A: " + b"a" * 1000 + b"\r\n", 100)
    assert connection.take_bytes()[:3] == b"431"


def test_an_error_is_sent_after_the_pending_replies() -> None:
    connection = opened(GET + POST + b"\0")
    answer(connection)
    assert not connection.take_bytes() and not connection.reads
    answer(connection)
    assert connection.take_bytes()[:3] == b"400" and connection.state is State.CLOSING


def test_no_error_is_sent_within_a_reply() -> None:
    connection = opened(POST[:-1])
    connection.requests[0].reply_begun = True
    connection.receive_eof(100)
    assert connection.state is State.CLOSING and not connection.take_bytes()


def test_pipelined_requests_are_limited() -> None:
    connection = opened(GET * (MAX_PIPELINED + 1))
    assert connection.state is State.ANSWERING
    connection.receive(GET, 100)
    assert connection.state is State.ENDING
    for _ in range(MAX_PIPELINED + 1):
        answer(connection)
    assert connection.take_bytes()[:3] == b"503"


# Timeouts.


def test_a_connection_without_data_is_closed_silently() -> None:
    connection = opened()
    assert connection.deadline == 130
    connection.expire(0, 130)
    assert connection.state is State.CLOSING and not connection.take_bytes()


def test_the_first_head_has_a_timeout_from_the_opening() -> None:
    connection = opened()
    connection.receive(GET[:5], 120)
    connection.receive(GET[5:7], 129)
    assert connection.deadline == 130
    connection.expire(0, 130)
    assert connection.take_bytes()[:3] == b"408"


def test_later_heads_have_a_timeout_from_their_first_byte() -> None:
    connection = opened(GET)
    answer(connection)
    connection.receive(GET[:5], 104)
    assert connection.deadline == 134


def test_paused_reading_does_not_count_towards_the_timeout() -> None:
    connection = opened(GET + GET + GET[:5])
    assert not connection.reads and connection.deadline == inf
    answer(connection)
    connection.resume_reading(200)
    assert connection.reads and connection.deadline == 230


def test_a_half_close_during_paused_reading_is_handled() -> None:
    connection = opened(GET + GET)
    assert not connection.reads
    answer(connection, now=150)
    connection.resume_reading(150)
    assert connection.receive_eof(150)


def test_an_idle_connection_is_closed() -> None:
    connection = opened(GET)
    assert connection.deadline == inf
    answer(connection, now=150)
    assert connection.deadline == 155
    connection.expire(0, 155)
    assert connection.state is State.CLOSING


def test_the_receiver_is_notified_once_of_a_body_timeout() -> None:
    connection, receiver = opened(POST[:-1]), Silent()
    assert connection.deadline == inf
    request = connection.requests[0]
    request.receiver, request.handed_over, request.body_timeout = receiver, 101, 10
    assert connection.deadline == 111
    connection.expire(0, 111)
    assert receiver.timed_out == 1 and connection.deadline == inf


def test_the_rest_of_a_body_is_discarded_briefly_after_its_reply() -> None:
    connection = opened(POST[:-2])
    answer(connection)
    assert connection.state is State.DISCARDING and connection.deadline == 102
    connection.receive(POST[-2:], 101)
    assert connection.state is State.IDLE
    late = opened(POST[:-2])
    answer(late)
    late.expire(0, 102)
    assert late.state is State.CLOSING


@pytest.mark.parametrize("keep_alive", [True, False])
def test_a_malformed_rest_of_a_body_gets_no_second_reply(keep_alive: bool) -> None:
    whole = chunked("/b", bytes(100), size=10)
    connection = opened(whole[:150])
    connection.requests[0].keep_alive = keep_alive
    answer(connection)
    connection.receive(b"no chunk", 101)
    assert connection.state is State.CLOSING and connection.take_bytes() == b""


def test_the_connection_closes_after_the_discarded_body_if_announced() -> None:
    connection = opened(POST[:-2])
    connection.requests[0].keep_alive = False
    answer(connection)
    assert connection.state is State.DISCARDING
    connection.receive(POST[-2:] + GET, 101)
    assert connection.state is State.CLOSING and not connection.requests


def test_a_client_that_reads_nothing_is_disconnected() -> None:
    connection = opened(GET)
    connection.pause_writing(1000, 100)
    assert not connection.reads and connection.deadline == 100 + STALL_CHECK_SECONDS
    connection.expire(900, 110)  # it has read
    connection.expire(900, 129)
    assert not connection.aborted
    connection.expire(900, 131)
    assert connection.aborted


def test_a_client_that_reads_again_continues() -> None:
    connection = opened(GET)
    connection.pause_writing(1000, 100)
    connection.resume_writing(119)
    assert connection.reads and connection.deadline == inf


def test_a_client_that_does_not_read_the_last_bytes_is_disconnected() -> None:
    connection = opened(b"\0")
    connection.closing(500, 100)
    connection.expire(500, 121)
    assert connection.aborted


# A client that shuts down its sending side.


def test_pending_replies_are_sent_after_a_half_close() -> None:
    connection = opened(GET + GET)
    assert connection.receive_eof(100)
    answer(connection)
    assert connection.state is State.ANSWERING
    answer(connection)
    assert connection.state is State.CLOSING


def test_pending_replies_after_a_half_close_have_a_timeout() -> None:
    connection = opened(GET)
    connection.receive_eof(100)
    assert connection.deadline == 120
    connection.expire(0, 120)
    assert connection.state is State.CLOSING


@pytest.mark.parametrize("after", [HALF_CLOSE_SECONDS, 10])
def test_a_late_half_close_is_a_disconnect(after: float) -> None:
    assert not opened(GET).receive_eof(100 + after)


def test_a_half_close_without_a_request_closes_the_connection() -> None:
    assert not opened().receive_eof(100)


@pytest.mark.parametrize("part", [GET[:5], POST[:-1]])
def test_a_half_close_within_a_request_is_refused(part: bytes) -> None:
    connection = opened(part)
    assert not connection.receive_eof(100)
    assert connection.take_bytes()[:3] == b"400"


def test_a_half_close_within_a_request_is_refused_after_pending_replies() -> None:
    connection = opened(GET + POST[:-1])
    assert connection.receive_eof(100)
    answer(connection)
    assert connection.take_bytes()[:3] == b"400" and not connection.requests


# Shutting down.


def test_an_idle_connection_is_closed_when_the_server_stops() -> None:
    connection = opened(GET)
    answer(connection)
    connection.shut_down(100)
    assert connection.state is State.CLOSING


def test_a_connection_with_requests_is_closed_after_their_replies() -> None:
    connection = opened(GET + GET)
    connection.shut_down(100)
    answer(connection)
    assert connection.state is State.ANSWERING
    answer(connection)
    assert connection.state is State.CLOSING


# Any cut of the bytes, and any interleaving of times.

ELEMENTS = {
    "get": GET,
    "post": POST,
    "chunked": chunked("/c", b"0123456789", size=3),
    "close": post("/d", b"x", Connection="close"),
    "upgrade": post("/e", b"up", Connection="upgrade", Upgrade="x"),
    "old": POST.replace(b"1.1\r\n", b"1.0\r\nConnection: keep-alive\r\n"),
    "broken": b"\0\r\n\r\n",
    "newline": b"\r\n",
}


@dataclass
class Told:
    """The output of a connection: requests in order, and bytes."""

    requests: list[tuple[bytes, bytes, bool]] = field(default_factory=list)
    sent: bytes = b""

    def take(self, connection: Connection, now: float) -> None:
        """Reply to every complete request in order."""
        while connection.requests and connection.requests[0].complete:
            request: Request = connection.requests[0]
            told = (request.head.url, bytes(request.body), request.keep_alive)
            self.requests.append(told)
            connection.reply_done(request, now)
            if connection.state is State.CLOSING:
                break
        self.sent += connection.take_bytes()


@given(
    names=st.lists(st.sampled_from(sorted(ELEMENTS)), max_size=6),
    cuts=st.lists(st.integers(0, 1000), max_size=12),
    pauses=st.lists(st.floats(0, 2), min_size=13, max_size=13),
)
def test_parsing_does_not_depend_on_how_bytes_are_split(
    names: list[str], cuts: list[int], pauses: list[float]
) -> None:
    data = b"".join(ELEMENTS[name] for name in names)
    whole, whole_told = Connection(LIMITS, refusal, 0), Told()
    whole.receive(data, 0)
    whole_told.take(whole, 0)
    cut, told, now = Connection(LIMITS, refusal, 0), Told(), 0.0
    bounds = sorted({0, len(data), *(at for at in cuts if at < len(data))})
    for first, last, pause in zip(bounds, bounds[1:], pauses, strict=False):
        now += pause  # less than every timeout
        if now >= cut.deadline:
            cut.expire(0, now)
        cut.receive(data[first:last], now)
        told.take(cut, now)
    assert told == whole_told
    assert cut.state is whole.state


@given(
    turns=st.lists(
        st.tuples(
            st.lists(st.sampled_from(sorted(ELEMENTS)), min_size=1, max_size=2), st.booleans()
        ),
        max_size=12,
    ),
    cut=st.integers(1, 1000),
)
def test_known_heads_change_nothing(turns: list[tuple[list[str], bool]], cut: int) -> None:
    known = KnownHeads()
    connections = [Connection(LIMITS, refusal, 0, each) for each in (known, KnownHeads(0))]
    told = [Told(), Told()]
    for names, whole in turns:
        data = b"".join(ELEMENTS[name] for name in names)
        for connection, each in zip(connections, told, strict=True):
            for part in [data] if whole else [data[:cut], data[cut:]]:
                connection.receive(part, 0)
            each.take(connection, 0)
        assert connections[0].state is connections[1].state
        if connections[0].state is State.CLOSING:
            connections = [Connection(LIMITS, refusal, 0, each) for each in (known, KnownHeads(0))]
    assert told[0] == told[1]


def test_a_repeated_head_needs_no_parser() -> None:
    known, parsed = KnownHeads(), []
    for body in (b"body", b"more"):
        connection = Connection(LIMITS, refusal, 0, known)
        connection.receive(post("/b", body), 0)
        parsed.append(connection.requests[0])
    assert parsed[0].head is parsed[1].head
    assert [request.body for request in parsed] == [b"body", b"more"]
    assert all(request.complete for request in parsed)


def test_heads_that_all_differ_are_learned_rarely() -> None:
    known = KnownHeads()
    connection = Connection(LIMITS, refusal, 0, known)
    for number in range(MOST_UNKNOWN + 2 * LOOK_AGAIN):
        connection.receive(get(f"/{number}"), 0)
        answer(connection)
    assert len(known) <= MOST_UNKNOWN + 2
    connection.receive(GET, 0)
    answer(connection)
    assert connection.state is State.IDLE


@pytest.mark.parametrize("end", [b"\n\n", b"\n\r\n"])
def test_a_head_that_ends_otherwise_is_not_learned(end: bytes) -> None:
    known = KnownHeads()
    data = POST.replace(b"\r\n\r\n", end) + b"\r\n\r\n"
    Connection(LIMITS, refusal, 0, known).receive(data, 0)
    assert len(known) == 0


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("receive"), st.sampled_from(sorted(ELEMENTS)), st.floats(0, 1)),
            st.tuples(
                st.sampled_from(["answer", "pause", "resume", "eof", "shut down", "close"]),
                st.just(""),
                st.just(0.0),
            ),
            st.tuples(st.just("wait"), st.just(""), st.floats(0, 60)),
        ),
        max_size=30,
    )
)
def test_no_order_of_events_leaves_the_state_table(
    steps: list[tuple[str, str, float]],
) -> None:
    connection, now = Connection(LIMITS, refusal, 0), 0.0
    for what, name, amount in steps:
        before = connection.state
        if what == "receive":
            data = ELEMENTS[name]
            connection.receive(data[: int(len(data) * amount) + 1], now)
        elif what == "answer" and connection.requests:
            answer(connection, now)
        elif what == "pause":
            connection.pause_writing(100, now)
        elif what == "resume":
            connection.resume_writing(now)
        elif what == "eof":
            connection.receive_eof(now)
        elif what == "shut down":
            connection.shut_down(now)
        elif what == "close":
            connection.close(now)
        elif what == "wait":
            now += amount
            if now >= connection.deadline:
                connection.expire(100, now)
        if before >= State.ENDING:
            assert connection.state >= State.ENDING
        # Whoever waits for the client does so until a deadline, or does not read.
        if connection.state in (State.OPENED, State.HEAD, State.IDLE, State.DISCARDING):
            assert connection.deadline < inf or not connection.reads
