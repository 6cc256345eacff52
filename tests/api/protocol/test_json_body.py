"""A small JSON body is read in pieces, within a limit of bytes and of time."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from service.api.protocol import json_body
from service.api.protocol.json_body import LIMIT, body_docs, json_object
from service.core.errors import BodyTimeout, BodyTooLarge, MalformedRequest


def request(pieces: Sequence[bytes], ends: bool = True) -> Request:
    waiting = list(pieces)

    async def receive() -> dict[str, Any]:
        if not waiting and not ends:
            await asyncio.Event().wait()
        body = waiting.pop(0) if waiting else b""
        return {"type": "http.request", "body": body, "more_body": bool(waiting) or not ends}

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


BODY = b'\xef\xbb\xbf{"version": 1, "force": true}'


@given(st.lists(st.integers(0, len(BODY)), max_size=5).map(sorted))
def test_an_object_is_read_in_pieces_of_any_size(cuts: list[int]) -> None:
    ends = [0, *cuts, len(BODY)]
    pieces = [BODY[a:b] for a, b in zip(ends, ends[1:], strict=False)]
    assert asyncio.run(json_object(request(pieces))) == {"version": 1, "force": True}


@pytest.mark.parametrize("body", [b"", b" \r\n", b"\xef\xbb\xbf"])
async def test_an_empty_body_is_an_empty_object(body: bytes) -> None:
    assert await json_object(request([body])) == {}


@pytest.mark.parametrize(
    ("body", "why"),
    [(b"[]", "a list, expected an object"), (b"null", "null, expected"), (b"{", "not JSON")],
)
async def test_bodies_that_are_not_an_object_are_refused(body: bytes, why: str) -> None:
    with pytest.raises(MalformedRequest, match=why):
        await json_object(request([body]))


async def test_the_limit_is_exact_and_reading_stops_at_it() -> None:
    space = b" " * (LIMIT - 2)
    assert await json_object(request([b"{", space, b"}"])) == {}
    with pytest.raises(BodyTooLarge, match=f"more than {LIMIT} bytes"):
        await json_object(request([b"{", space, b"}", b" "], ends=False))


async def test_an_incomplete_body_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_body, "SECONDS", 0.01)
    with pytest.raises(BodyTimeout, match=r"within 0\.01 s"):
        await json_object(request([b"{"], ends=False))


class Inner(BaseModel):
    """A model inside the next model."""

    name: str


class Asked(BaseModel):
    """The body of a route."""

    inner: Inner
    force: bool = False


def test_a_body_is_documented_with_its_model_and_an_example() -> None:
    example = {"inner": {"name": "m"}}
    body = body_docs(Asked, example, required=True)["requestBody"]
    content = body["content"]["application/json"]
    assert body["required"] and content["example"] == example
    schema = content["schema"]
    assert schema["properties"]["inner"] == {"$ref": "#/components/schemas/Inner"}
    assert set(schema["$defs"]) == {"Inner"}
