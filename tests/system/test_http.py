"""HTTP itself: invalid, ambiguous and slow requests, and answers that are never read. Each gets an
answer or is ended, and its resources are freed.
"""

import http.client
import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.patience import PATIENCE, until
from tests.system.process import BODY_SECONDS, Running
from tests.system.wire import Answer, chunked, get, post

PATH = "/v2/models/same_fp32/infer"
GOOD = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
).encode()
START = f"POST {PATH} HTTP/1.1\r\nHost: test\r\n"


def lines(*headers: str, start: str = START, body: bytes = GOOD) -> bytes:
    return (start + "".join(f"{each}\r\n" for each in headers) + "\r\n").encode("latin-1") + body


def served(attacked: Running) -> bool:
    return attacked.ask(post(PATH, GOOD)).status == 200


TE, CL = "Transfer-Encoding: chunked", f"Content-Length: {len(GOOD)}"
NOT_HTTP = {
    "a length and chunks": lines(CL, TE, body=b"0\r\n\r\n"),
    "chunks and a length": lines(TE, CL, body=b"0\r\n\r\n"),
    "two lengths": lines(CL, "Content-Length: 5"),
    "a length twice": lines(CL, CL),
    "a list of lengths": lines("Content-Length: 5, 5"),
    "a negative length": lines("Content-Length: -5"),
    "a signed length": lines("Content-Length: +5"),
    "a hexadecimal length": lines("Content-Length: 0x5"),
    "a length past 64 bits": lines("Content-Length: " + "9" * 30),
    "chunked, but not last": lines("Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"),
    "another coding": lines("Transfer-Encoding: identity"),
    "a blank before the colon": lines("Transfer-Encoding : chunked", body=b"0\r\n\r\n"),
    "a folded header": lines("X: 1", " Transfer-Encoding: chunked", body=b""),
    "a bare line feed": START.replace("\r", "").encode() + b"Content-Length: 2\n\n{}",
    "a bare carriage return": lines("X: a\rTransfer-Encoding: chunked"),
    "NUL in a header": lines("X: a\0b"),
    "DEL in a header": lines("X-Request-Id: a\x7fb"),
    "a wrong chunk size": lines(TE, body=b"zz\r\n"),
    "a negative chunk size": lines(TE, body=b"-5\r\nhello\r\n0\r\n\r\n"),
    "a chunk size past 64 bits": lines(TE, body=b"f" * 20 + b"\r\n"),
    "a chunk longer than it says": lines(TE, body=b"2\r\nhello\r\n0\r\n\r\n"),
    "no method": b"hello\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a version from the future": lines(CL, start=START.replace("1.1", "9.9")),
    "bytes in the address": lines(CL, start=START.replace("same", "\xc3\xa9")),
    "a blank in the address": lines(CL, start=START.replace("same", "sa me")),
}


@pytest.mark.parametrize("request_", NOT_HTTP.values(), ids=NOT_HTTP.keys())
def test_ambiguous_requests_are_refused(attacked: Running, request_: bytes) -> None:
    with attacked.line() as line:
        answer = line.ask(request_)
        assert answer.status == 400
        assert answer.error.startswith("this is not HTTP/1.1: ")
        assert answer.headers["connection"] == "close"
        assert line.at_end()
    assert served(attacked)


def test_the_error_for_invalid_http_comes_after_earlier_answers(attacked: Running) -> None:
    slow = b'{"inputs":[{"name":"n","datatype":"INT64","shape":[1],"data":[200000]}]}'
    with attacked.line() as line:
        line.socket.sendall(post("/v2/models/counting/infer", slow) + b"nonsense\r\n\r\n")
        assert line.read().status == 200
        assert line.read().status == 400
        assert line.at_end()


def test_an_unsupported_transfer_encoding_is_refused(attacked: Running) -> None:
    request = chunked(PATH, GOOD).replace(b"chunked", b"gzip, chunked")
    answer = attacked.ask(request)
    assert (answer.status, answer.headers["connection"]) == (415, "close")
    assert 'Transfer-Encoding "gzip, chunked"' in answer.error


TWICE = ["Content-Encoding: gzip", "Inference-Header-Content-Length: 5"]


@pytest.mark.parametrize("header", TWICE)
def test_a_repeated_framing_header_is_refused(attacked: Running, header: str) -> None:
    answer = attacked.ask(lines(CL, header, header))
    assert answer.status == 400
    assert "twice" in answer.error and header.split(":")[0].lower() in answer.error


def test_other_headers_may_be_repeated(attacked: Running) -> None:
    assert attacked.ask(lines(CL, "Accept: a", "Accept: b")).status == 200


LONG = {
    "an address": lines(CL, start=START.replace("same", "n" * 70_000)),
    "a header": lines(CL, "X: " + "n" * 70_000),
    "many headers": lines(CL, *(f"X-{n}: {n}" for n in range(10_000))),
    "a header without end": lines(CL, "X: " + "n" * 600_000)[:-500],
}


@pytest.mark.parametrize("request_", LONG.values(), ids=LONG.keys())
def test_a_head_over_the_limit_is_refused(attacked: Running, request_: bytes) -> None:
    with attacked.line() as line:
        with suppress(ConnectionError):
            line.socket.sendall(request_)
        answer = line.read()
    assert answer.status == 431
    assert "65536 bytes" in answer.error
    assert served(attacked)


def test_a_long_head_within_the_limit_is_accepted(attacked: Running) -> None:
    assert attacked.ask(lines(CL, "X: " + "n" * 60_000)).status == 200
    assert attacked.ask(get("/v2/" + "n" * 60_000)).status == 404


def test_trailers_are_ignored(attacked: Running) -> None:
    body = b"%x\r\n%s\r\n0\r\nContent-Encoding: gzip\r\nX: y\r\n\r\n" % (len(GOOD), GOOD)
    with attacked.line() as line:
        assert line.ask(lines(TE, "Trailer: X", body=body)).status == 200
        assert line.ask(lines(TE, "Expect: 100-continue", body=body)).status == 200
        assert line.ask(post(PATH, GOOD)).status == 200


METHODS = ["GET", "PUT", "DELETE", "PATCH", "HEAD", "TRACE"]


@pytest.mark.parametrize("path", [PATH, "/v1/models/same_fp32:predict"])
@pytest.mark.parametrize("method", METHODS)
def test_other_methods_are_refused_with_the_allowed_ones(
    attacked: Running, method: str, path: str
) -> None:
    with attacked.line() as line:
        answer = line.ask(get(path, method))
        assert answer.status == 405
        assert answer.headers["allow"] == "OPTIONS, POST"
        if method != "HEAD":
            assert method in answer.error and "expected POST" in answer.error
        assert line.ask(post(PATH, GOOD)).status == 200


def test_options_lists_the_allowed_methods(attacked: Running) -> None:
    with attacked.line() as line:
        answer = line.ask(get(PATH, "OPTIONS"))
        assert (answer.status, answer.headers["allow"]) == (204, "OPTIONS, POST")
        assert line.ask(post(PATH, GOOD)).status == 200


def test_connect_is_refused(attacked: Running) -> None:
    answer = attacked.ask(b"CONNECT test:80 HTTP/1.1\r\nHost: test\r\n\r\n")
    assert answer.status == 405 and "CONNECT" in answer.error


def test_http_1_0_is_answered_and_the_connection_closed(attacked: Running) -> None:
    with attacked.line() as line:
        assert line.ask(post(PATH, GOOD).replace(b"HTTP/1.1", b"HTTP/1.0")).status == 200
        assert line.at_end()


def test_connection_close_closes_and_ignores_later_requests(attacked: Running) -> None:
    with attacked.line() as line:
        last = post(PATH, GOOD, Connection="close")
        assert line.ask(last + post(PATH, GOOD)).headers["connection"] == "close"
        assert line.at_end()


OTHER_PROTOCOLS = ["h2c", "websocket", "TLS/1.0"]


@pytest.mark.parametrize("protocol", OTHER_PROTOCOLS)
@pytest.mark.parametrize("options", ["Upgrade", "Upgrade, HTTP2-Settings", "keep-alive, upgrade"])
def test_an_offer_of_another_protocol_is_ignored(
    attacked: Running, protocol: str, options: str
) -> None:
    """Java's client offers h2c with its first request, which may have a body."""
    offer = {"Connection": options, "Upgrade": protocol, "HTTP2-Settings": "AAMAAABkAAQ"}
    with attacked.line() as line:
        request = post(PATH, GOOD, **offer)
        line.socket.sendall(request[:-3])
        line.socket.sendall(request[-3:])
        assert line.read().status == 200
        assert line.ask(post(PATH, GOOD)).status == 200
        assert line.ask(request + post(PATH, GOOD)).status == 200
        assert line.read().status == 200


@pytest.mark.parametrize("path", [PATH + "?x=y", "http://test" + PATH, PATH.replace("_", "%5F")])
def test_other_forms_of_the_url_are_accepted(attacked: Running, path: str) -> None:
    assert attacked.ask(post(path, GOOD)).status == 200


def test_request_ids_are_returned_or_generated(attacked: Running) -> None:
    for request in (post(PATH, GOOD, X_Request_Id="7"), chunked(PATH, b"{", X_Request_Id="7")):
        assert attacked.ask(request).headers["x-request-id"] == "7"
    given = {attacked.ask(post(PATH, GOOD)).headers["x-request-id"] for _ in range(3)}
    assert len(given) == 3
    too_long = attacked.ask(post(PATH, GOOD, X_Request_Id="n" * 200)).headers["x-request-id"]
    assert len(too_long) < 50


# Slow clients, and those that leave


def trickle(line: socket.socket, data: bytes, stop: threading.Event) -> None:
    """Send one byte at a time, until all are sent, the connection is closed or ``stop`` is set."""
    try:
        while data and not stop.wait(0.2):
            line.sendall(data[:1])
            data = data[1:]
    except OSError:
        pass


SLOW = {
    "a head": lines(CL)[:60],
    "a body": lines(f"Content-Length: {len(GOOD) + 1000}", body=GOOD)[: -len(GOOD) + 5],
    "a body in chunks": lines(TE, body=b""),
    "a body that is announced": lines(
        f"Content-Length: {len(GOOD) + 1000}", "Expect: 100-continue"
    ),
}


@pytest.mark.parametrize("start", SLOW.values(), ids=SLOW.keys())
@pytest.mark.parametrize("goes_on", [True, False], ids=["a byte now and then", "nothing more"])
def test_an_unfinished_request_times_out(attacked: Running, start: bytes, goes_on: bool) -> None:
    stop = threading.Event()
    more = b"1\r\na\r\n" * 100 if TE.encode() in start else b"x" * 600
    with attacked.line() as line:
        began = time.monotonic()
        line.socket.sendall(start)
        sender = threading.Thread(
            target=trickle, args=(line.socket, more if goes_on else b"", stop)
        )
        sender.start()
        answer = line.read()
        assert answer.status == 408
        assert f"within {BODY_SECONDS} s" in answer.error
        assert time.monotonic() - began > BODY_SECONDS * 0.9
        assert line.at_end()
        stop.set()
        sender.join()
    assert served(attacked)


def test_a_silent_connection_is_closed(attacked: Running) -> None:
    with attacked.line() as line:
        assert line.at_end()


def test_a_small_body_of_the_control_plane_times_out_too(attacked: Running) -> None:
    start = b"POST /v2/repository/index HTTP/1.1\r\nHost: test\r\nContent-Length: 50\r\n\r\n{"
    with attacked.line() as line:
        assert line.ask(start).status == 408


def reset(line: socket.socket) -> None:
    """Disconnect with a TCP reset."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.close()


COUNT = b'{"inputs":[{"name":"n","datatype":"INT64","shape":[1],"data":[100000]}]}'
COUNTING = "/v2/models/counting/infer"
LEAVING: dict[str, Callable[[socket.socket], None]] = {
    "after the head": lambda s: s.sendall(lines(CL, body=b"")),
    "in the body": lambda s: s.sendall(post(PATH, GOOD)[:-5]),
    "in the body of a long request": lambda s: s.sendall(
        lines("Content-Length: 900000", body=bytes(500_000))
    ),
    "in a chunk": lambda s: s.sendall(lines(TE, body=b"ff\r\nabc")),
    "before the answer": lambda s: s.sendall(post(COUNTING, COUNT)),
    "before the answer, the other way": lambda s: s.sendall(
        chunked(COUNTING, COUNT, Expect="100-continue")
    ),
    "before many answers": lambda s: s.sendall(post(COUNTING, COUNT) * 20),
    "in the middle of a long answer": lambda s: s.sendall(
        post("/v2/models/wide/infer", GOOD.replace(b"[1, 2]", b"[1, 1]", 1).replace(b"1, 2", b"1"))
    ),
}  # fmt: skip


@pytest.mark.parametrize("leave", [reset, socket.socket.close], ids=["reset", "closed"])
@pytest.mark.parametrize("send", LEAVING.values(), ids=LEAVING.keys())
def test_resources_of_a_disconnected_client_are_freed(
    attacked: Running, send: Callable[[socket.socket], None], leave: Callable[[socket.socket], None]
) -> None:
    for _ in range(5):
        line = socket.create_connection(("127.0.0.1", attacked.port), PATIENCE)
        send(line)
        leave(line)
    assert served(attacked)
    until(lambda: not in_flight(attacked), "requests in flight have not ended")


def in_flight(attacked: Running) -> float:
    page = attacked.ask(get("/metrics")).body.decode()
    found = [s for s in page.splitlines() if s.startswith("quantserve_in_flight_requests{")]
    assert found
    return sum(float(line.split()[-1]) for line in found)


WIDE = json.dumps(
    {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1]}],
        "parameters": {"binary_data_output": True},
    }
).encode()
"""Asks for 4 MiB."""


@pytest.mark.parametrize("way", [post, chunked])
def test_unread_answers_do_not_accumulate(attacked: Running, way: Callable[..., bytes]) -> None:
    """Sixty answers of 4 MiB are requested, one after the other; only a few are built and kept."""
    before = attacked.resident_bytes()
    with attacked.line() as line:
        for _ in range(60):
            try:
                line.socket.sendall(way("/v2/models/wide/infer", WIDE))
            except ConnectionError:
                break  # the server closed the connection, because nothing was read
            assert served(attacked)
            until(lambda: not in_flight(attacked), "the request has not ended")
        assert attacked.resident_bytes() - before < 100 * 2**20
        until(lambda: open_connections(attacked) <= 1, "the connection has not been closed")


def open_connections(attacked: Running) -> int:
    """Count the sockets of the server to clients."""
    table = Path(f"/proc/{attacked.process.pid}/net/tcp").read_text()
    rows = [row.split() for row in table.splitlines()[1:]]
    local = f"0100007F:{attacked.port:04X}"
    return sum(row[1] == local and row[3] == "01" for row in rows)


def test_a_slow_reader_gets_the_whole_answer(attacked: Running) -> None:
    with attacked.line() as line:
        line.socket.sendall(post("/v2/models/wide/infer", WIDE) * 3)
        for _ in range(3):
            answer = line.read()
            assert answer.status == 200 and len(answer.body) > 2**22


def test_pipelined_requests_are_answered_in_order(attacked: Running) -> None:
    def numbered(number: int) -> bytes:
        body = json.loads(COUNT) | {"id": str(number)}
        body["inputs"][0]["data"] = [1000 if number % 3 else 50_000]
        return post(COUNTING, json.dumps(body).encode())

    with attacked.line() as line:
        line.socket.sendall(b"".join(map(numbered, range(100))))
        assert [line.read().json["id"] for _ in range(100)] == [str(n) for n in range(100)]


def test_too_many_pipelined_requests_close_the_connection(attacked: Running) -> None:
    with attacked.line() as line:
        line.socket.sendall(post(COUNTING, COUNT) + get("/v2/health/live") * 3000)
        answers: list[Answer] = []
        while not answers or answers[-1].status == 200:
            answers.append(line.read())
        assert answers[-1].status == 503
        assert "wait on this connection" in answers[-1].error
        assert line.at_end()
    assert served(attacked)


def test_memory_does_not_grow(attacked: Running) -> None:
    """Five hundred clients send half a megabyte of a request each, and disconnect."""

    def attack() -> None:
        for _ in range(250):
            line = socket.create_connection(("127.0.0.1", attacked.port), PATIENCE)
            line.sendall(lines("Content-Length: 900000", body=bytes(500_000)))
            line.close()

    attack()
    before = attacked.resident_bytes()
    attack()
    attack()
    assert served(attacked)
    assert attacked.resident_bytes() - before < 50 * 2**20


def test_a_body_in_small_chunks_uses_no_more_memory_than_its_size(attacked: Running) -> None:
    """Fifty unfinished bodies of half a megabyte, in chunks of two bytes."""
    before = attacked.resident_bytes()
    open_lines = []
    for _ in range(50):
        line = attacked.line()
        line.socket.sendall(lines(TE, body=b"2\r\n  \r\n" * 250_000))
        open_lines.append(line)
    grown = attacked.resident_bytes() - before
    for line in open_lines:
        line.close()
    assert grown < 100 * 2**20
    assert served(attacked)


def test_http_client_receives_the_reason_for_a_refused_body(attacked: Running) -> None:
    """http.client sends the whole body before it reads, and fails if the connection breaks. The
    server reads the rest of the body for two seconds, which a busy machine may need for less."""
    for last in (False, False, True):
        connection = http.client.HTTPConnection("127.0.0.1", attacked.port, timeout=PATIENCE)
        try:
            connection.request("POST", PATH, bytes(2**22))
            response = connection.getresponse()
            assert response.status == 413
            assert b"at most 1048576 are allowed" in response.read()
            return
        except ConnectionError:
            if last:
                raise
        finally:
            connection.close()
