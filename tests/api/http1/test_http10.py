"""Recognition of HTTP/1.0 clients that offer to keep the connection open."""

import pytest

from service.api.http1.http10 import Header, offers_keep_alive


@pytest.mark.parametrize(
    ("headers", "offers"),
    [
        ([], False),
        ([(b"connection", b"keep-alive")], True),
        ([(b"connection", b"Keep-Alive , x")], True),
        ([(b"connection", b"keep-alive"), (b"connection", b"close")], False),
        ([(b"connection", b"keep-alive"), (b"transfer-encoding", b"chunked")], False),
    ],
)
def test_offers_to_keep_the_connection_are_recognised(headers: list[Header], offers: bool) -> None:
    assert offers_keep_alive(headers) is offers
