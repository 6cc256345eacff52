"""An offer of HTTP/1.0 to keep the connection is taken where the answer tells its own length."""

import asyncio
from collections.abc import MutableMapping
from types import SimpleNamespace
from typing import Any

import pytest

from service.api.transport.http10 import KEEP_ALIVE, Header, keep_open, offers_keep_alive


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
def test_offers(headers: list[Header], offers: bool) -> None:
    assert offers_keep_alive(headers) is offers


@pytest.mark.parametrize(
    ("status", "headers", "told"),
    [
        (200, [(b"content-length", b"2")], KEEP_ALIVE),
        (204, [], KEEP_ALIVE),
        (200, [], (b"connection", b"close")),
        (200, [(b"Connection", b"close")], None),
    ],
)
def test_answers(status: int, headers: list[Header], told: Header | None) -> None:
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    cycle = SimpleNamespace(send=send, keep_alive=False)
    keep_open(cycle)
    start = {"type": "http.response.start", "status": status, "headers": headers}
    asyncio.run(cycle.send(start))
    added = [pair for pair in sent[0]["headers"] if pair not in headers]
    assert cycle.keep_alive and added == ([told] if told else [])
