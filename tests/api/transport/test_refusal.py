"""A reply that is sent before the request has been read."""

from typing import Any

import pytest

from service.api.transport.refusal import SMALL_BODY, Refusal, turned_away
from service.core.errors import Forbidden, Unauthenticated


async def test_a_refusal_is_sent_before_the_rest_of_the_body_is_read() -> None:
    order: list[str] = []

    async def receive() -> Any:
        order.append("receive")
        return {"type": "http.request", "body": b"x", "more_body": len(order) < 5}

    async def send(message: Any) -> None:
        order.append(f"{message['type']} {message.get('more_body')}")

    await Refusal("no", 413)({"type": "http"}, receive, send)
    assert order[:2] == ["http.response.start None", "http.response.body True"]
    assert order[2] == "receive" and order[-1] == "http.response.body None"


@pytest.mark.parametrize(
    ("headers", "closes"),
    [
        ({}, False),
        ({"content-length": str(SMALL_BODY)}, False),
        ({"content-length": str(SMALL_BODY + 1)}, True),
        ({"content-length": "many"}, True),
        ({"transfer-encoding": "chunked"}, True),
    ],
)
def test_a_refused_small_body_keeps_the_connection_open(
    headers: dict[str, str], closes: bool
) -> None:
    reply = turned_away(Unauthenticated("no key"), headers)
    assert reply.status_code == 401 and "www-authenticate" in reply.headers
    assert (reply.headers.get("connection") == "close") is closes
    assert isinstance(reply, Refusal) is closes


def test_a_key_without_permission_gets_no_authenticate_header() -> None:
    reply = turned_away(Forbidden("not yours"), {})
    assert reply.status_code == 403 and "www-authenticate" not in reply.headers
