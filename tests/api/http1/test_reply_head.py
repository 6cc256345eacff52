"""Heads of replies, and how their bodies are framed."""

import pytest

from service.api.http1.reply_head import Framing, begin, lines_of, refusal
from service.api.http1.request import Head, Header, Request
from service.api.transport.answers import CLOSE

DATE = b"date: today\r\n"
LENGTH = (b"content-length", b"3")


def request(method: bytes = b"GET", version: str = "1.1", keep_alive: bool = True) -> Request:
    return Request(Head(method, b"/", version, [], keep_alive))


def test_a_head_has_its_headers_and_the_common_ones() -> None:
    head, framing = begin(request(), 200, [(b"X-A", b"1"), LENGTH], DATE)
    assert head == b"HTTP/1.1 200 OK\r\ndate: today\r\nx-a: 1\r\ncontent-length: 3\r\n\r\n"
    assert framing is Framing.LENGTH


@pytest.mark.parametrize(
    ("asked", "status", "headers", "framing", "line"),
    [
        (request(), 200, [], Framing.CHUNKED, b"transfer-encoding: chunked"),
        (request(version="1.0"), 200, [], Framing.UNTIL_CLOSE, b"connection: close"),
        (request(version="1.0"), 200, [LENGTH], Framing.LENGTH, b"connection: keep-alive"),
        (request(b"HEAD"), 200, [LENGTH], Framing.NONE, b"content-length: 3"),
        (request(), 204, [], Framing.NONE, b"HTTP/1.1 204 No Content"),
        (request(), 299, [], Framing.CHUNKED, b"HTTP/1.1 299 "),
        (request(keep_alive=False), 200, [LENGTH], Framing.LENGTH, b"connection: close"),
        (request(), 200, [LENGTH, (b"transfer-encoding", b"chunked")], Framing.LENGTH, b""),
    ],
)
def test_the_framing_marks_the_end_of_the_body(
    asked: Request, status: int, headers: list[Header], framing: Framing, line: bytes
) -> None:
    head, found = begin(asked, status, headers, DATE)
    assert found is framing
    assert head.endswith(b"\r\n\r\n") and line in head.split(b"\r\n")
    told = {name: head.count(name) for name in (b"content-length:", b"transfer-encoding:")}
    assert sum(told.values()) <= 1


@pytest.mark.parametrize("value", [b"close", b"Close, x"])
def test_a_reply_may_end_the_connection(value: bytes) -> None:
    asked = request()
    head, _ = begin(asked, 200, [LENGTH, (b"Connection", value)], DATE)
    assert not asked.keep_alive and head.count(b"connection: close\r\n") == 1


@pytest.mark.parametrize(
    "header", [(b"a b", b""), (b"a", b"1\r\nb: 2"), (b"a:", b""), (b"", b"\0"), (b"a\n", b"")]
)
def test_a_header_value_cannot_inject_headers(header: Header) -> None:
    with pytest.raises(ValueError, match="the reply has the header"):
        begin(request(), 200, [header], DATE)


def test_a_refusal_is_a_complete_reply() -> None:
    said = refusal(408, "too late", DATE)
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 Request Timeout\r\ndate: today\r\n")
    assert b"connection: close" in head and body == b'{"error":"too late"}'
    assert b"content-length: %d" % len(body) in head


def test_the_headers_of_an_answer_are_joined_and_close_is_told_apart() -> None:
    assert lines_of((LENGTH, (b"a", b"b"))) == (b"content-length: 3\r\na: b\r\n", False)
    assert lines_of((LENGTH, CLOSE)) == (b"content-length: 3\r\n", True)
