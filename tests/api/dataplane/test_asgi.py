"""Inference as an ASGI callable, as other servers call it."""

import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from tests import tiny_models
from tests.inprocess import serve

PATH = "/v2/models/same_fp32/infer"
X = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
BODY = json.dumps({"inputs": [X]}).encode()


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    tiny_models.identity(tmp_path, "FP32")
    async with serve(tmp_path, max_body_bytes=2**20, api_key=SecretStr("key")) as served:
        yield served.client


async def ask(client: httpx.AsyncClient, content: bytes = BODY, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post(PATH, content=content, headers=named)


async def test_a_request_is_answered_with_its_id(client: httpx.AsyncClient) -> None:
    reply = await ask(client, x_request_id="mine")
    assert reply.json()["outputs"][0]["data"] == [1, 2]
    assert reply.headers["x-request-id"] == "mine"
    assert int(reply.headers["content-length"]) == len(reply.content)


async def test_bodies_and_replies_may_be_compressed(client: httpx.AsyncClient) -> None:
    wide = json.dumps({"inputs": [{**X, "shape": [1, 9000], "data": [1] * 9000}]}).encode()
    reply = await ask(
        client, gzip.compress(wide), content_encoding="gzip", accept_encoding="deflate"
    )
    assert reply.headers["content-encoding"] == "deflate"
    assert reply.json()["outputs"][0]["shape"] == [1, 9000]


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{", {}, 400),
        (bytes(2**20 + 1), {}, 413),
        (b"", {"content_encoding": "br"}, 415),
        (BODY, {"x_api_key": "other"}, 401),
    ],
)
async def test_invalid_requests_are_refused_with_an_error(
    client: httpx.AsyncClient, content: bytes, headers: dict[str, str], status: int
) -> None:
    reply = await ask(client, content, **headers)
    assert reply.status_code == status and set(reply.json()) == {"error"}


async def test_a_repeated_content_encoding_header_is_refused(
    client: httpx.AsyncClient,
) -> None:
    twice = [("content-encoding", "gzip"), ("content-encoding", "gzip")]
    reply = await client.post(PATH, content=BODY, headers=twice)
    assert reply.status_code == 400 and "content-encoding" in reply.json()["error"]


async def test_other_methods_are_answered_with_the_allowed_methods(
    client: httpx.AsyncClient,
) -> None:
    for method, status in (("OPTIONS", 204), ("GET", 405), ("PUT", 405)):
        reply = await client.request(method, PATH)
        assert (reply.status_code, reply.headers["allow"]) == (status, "OPTIONS, POST")


async def test_other_paths_are_passed_to_the_control_plane(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v2/health/live")).status_code == 200
    assert (await client.get("/nothing")).status_code == 404
