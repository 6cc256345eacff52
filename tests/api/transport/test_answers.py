"""Errors and outputs to replies."""

import orjson
import pytest

from service.api.transport.answers import (
    ALLOW,
    BINARY,
    CLOSE,
    JSON,
    LONGEST_ERROR,
    Answer,
    encoded,
    refused,
    shorten,
)
from service.core.errors import (
    BodyTimeout,
    BodyTooLarge,
    MalformedRequest,
    MemoryFull,
    MethodNotAllowed,
    NotFound,
    QuantserveError,
    QueueFull,
    ShuttingDown,
    WouldExpire,
)

RETRY = (b"retry-after", b"1")


@pytest.mark.parametrize(
    ("error", "status", "more"),
    [
        (MalformedRequest("no"), 400, []),
        (NotFound("no"), 404, []),
        (MethodNotAllowed("no"), 405, [ALLOW]),
        (BodyTimeout("no"), 408, [CLOSE]),
        (BodyTooLarge("no"), 413, [CLOSE]),
        (QueueFull("no"), 503, [RETRY]),
        (WouldExpire("no", 2.1), 503, [(b"retry-after", b"3")]),
        (WouldExpire("no", 0.01), 503, [RETRY]),
        (MemoryFull("no"), 503, [RETRY, CLOSE]),
        (ShuttingDown("no"), 503, [CLOSE]),
    ],
)
def test_an_error_says_what_to_do(
    error: QuantserveError, status: int, more: list[tuple[bytes, bytes]]
) -> None:
    answer = refused(error)
    assert (answer.status, answer.headers) == (status, [JSON, *more])
    assert orjson.loads(answer.body) == {"error": "no"}


def test_what_a_client_chose_is_told_in_part() -> None:
    text = "x" * (LONGEST_ERROR + 1)
    assert shorten(text[1:]) == text[1:]
    assert shorten(text) == text[1:] + "..."
    assert len(refused(MalformedRequest(text * 9)).body) < LONGEST_ERROR + 50


def test_raw_tensors_follow_the_json_part() -> None:
    assert encoded(b"{}", None) == Answer(200, [JSON], b"{}")
    length = (b"inference-header-content-length", b"2")
    assert encoded(b"{}raw", 2) == Answer(200, [BINARY, length], b"{}raw")


def test_an_answer_knows_its_size_and_can_be_compressed() -> None:
    answer = Answer(200, [JSON], b"abc", (b"de", memoryview(b"f")))
    assert answer.size == 6
    packed = answer.encoded(b"gzip", b"zz")
    assert packed == Answer(200, [JSON, (b"content-encoding", b"gzip")], b"zz")
    assert answer.headers == [JSON]
