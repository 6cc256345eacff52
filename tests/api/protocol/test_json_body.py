"""The small JSON bodies of the control plane."""

import asyncio
from typing import Any

import pytest
from fastapi import Request
from pydantic import BaseModel

from service.api.protocol import json_body
from service.api.protocol.json_body import LIMIT, body_docs, json_object
from service.core.errors import BodyTimeout, BodyTooLarge, MalformedRequest


def request(*chunks: bytes, ends: bool = True) -> Request:
    waiting = [{"type": "http.request", "body": c, "more_body": True} for c in chunks]

    async def receive() -> Any:
        if waiting:
            return waiting.pop(0)
        if not ends:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": b"", "more_body": False}

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


@pytest.mark.parametrize("chunks", [(), (b"",), (b" \r\n",)])
async def test_nothing_is_an_empty_object(chunks: tuple[bytes, ...]) -> None:
    assert await json_object(request(*chunks)) == {}


async def test_an_object_comes_in_any_parts() -> None:
    assert await json_object(request(b'{"a"', b":", b"1}")) == {"a": 1}


@pytest.mark.parametrize("body", [b"[]", b"{", b"null"])
async def test_anything_else_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedRequest):
        await json_object(request(body))


async def test_it_has_a_largest_size() -> None:
    with pytest.raises(BodyTooLarge, match=str(LIMIT)):
        await json_object(request(b" " * LIMIT, b" "))


async def test_it_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_body, "SECONDS", 0.01)
    with pytest.raises(BodyTimeout, match="within 0.01 s"):
        await json_object(request(b"{", ends=False))


def test_the_document_has_its_model_and_an_example() -> None:
    class Asked(BaseModel):
        version: int

    docs = body_docs(Asked, {"version": 1}, required=True)["requestBody"]
    content = docs["content"]["application/json"]
    assert docs["required"] and content["example"] == {"version": 1}
    assert content["schema"]["properties"]["version"]["type"] == "integer"
