"""Bodies on their way to a route."""

import asyncio
from typing import Any

import pytest
from fastapi import Request

from service.api.transport.arrival import Limits, arrived
from service.api.transport.traffic import Traffic
from service.core.errors import BodyTimeout, BodyTooLarge

TRAFFIC = Traffic(2**20)


def request(*chunks: bytes, ends: bool = True) -> Request:
    waiting = list(chunks)

    async def receive() -> Any:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(0), "more_body": True}
        if not ends:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": b"", "more_body": False}

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


async def test_a_body_is_read_within_its_limit() -> None:
    limits = Limits(3, 10.0, TRAFFIC)
    assert bytes(await arrived(request(b"ab", b"c"), {}, limits, lambda _: None)) == b"abc"
    with pytest.raises(BodyTooLarge):
        await arrived(request(b"ab", b"cd"), {}, limits, lambda _: None)


async def test_an_incomplete_body_times_out() -> None:
    with pytest.raises(BodyTimeout, match=r"within 0\.01 s"):
        await arrived(request(b"a", ends=False), {}, Limits(3, 0.01, TRAFFIC), lambda _: None)
