"""A request while it is received."""

import pytest

from service.api.http1.request import Head, Header, Request


def test_a_new_request_has_only_its_head() -> None:
    request = Request(Head(b"GET", b"/", "1.1", [], keep_alive=True))
    assert not (request.complete or request.reply_begun or request.reply_complete)
    assert request.body == b"" and request.has_news and request.receiver is None


@pytest.mark.parametrize(
    ("version", "value", "expected"),
    [
        ("1.1", b"100-Continue", True),
        ("1.1", b"200-ok", False),
        ("1.0", b"100-continue", False),
    ],
)
def test_expect_100_continue_is_recognised(version: str, value: bytes, expected: bool) -> None:
    head = Head(b"POST", b"/", version, [(b"expect", value)], keep_alive=True)
    assert head.continue_expected is expected


@pytest.mark.parametrize(
    ("headers", "plain"),
    [
        ([], True),
        ([(b"content-length", b"3"), (b"accept", b"*/*")], True),
        ([(b"transfer-encoding", b"chunked")], True),
        ([(b"transfer-encoding", b"gzip, chunked")], False),
        ([(b"content-encoding", b"gzip")], False),
        ([(b"expect", b"100-continue")], False),
        ([(b"accept", b"a"), (b"accept", b"b")], False),
    ],
)
def test_a_plain_request_needs_no_special_care(headers: list[Header], plain: bool) -> None:
    assert Head(b"POST", b"/", "1.1", headers, keep_alive=True).plain_post is plain
    assert not Head(b"PUT", b"/", "1.1", headers, keep_alive=True).plain_post
    assert not Head(b"POST", b"/", "2.0", headers, keep_alive=True).plain_post


def test_the_length_of_the_body_is_that_of_its_header() -> None:
    for headers, length in (([(b"content-length", b"12")], 12), ([], 0)):
        assert Head(b"POST", b"/", "1.1", headers, keep_alive=True).body_bytes == length
