"""Every error is answered with {"error": "..."} and a message that helps the client."""

import logging

import httpx
import pytest
from fastapi import APIRouter

from tests.guards import edge_of

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("path", ["/nowhere", "/v2/model", "/v2/models/digits/", "/docs/x"])
async def test_an_unknown_path_is_404_and_points_to_the_docs(
    client: httpx.AsyncClient, path: str
) -> None:
    reply = await client.get(path)
    assert reply.status_code == 404
    assert reply.json() == {"error": f"there is no route for GET {path}; /docs lists all routes"}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v2", "GET, HEAD, OPTIONS"),
        ("DELETE", "/v2/models/digits", "GET, HEAD, OPTIONS"),
        ("PUT", "/v2/logging", "GET, HEAD, OPTIONS, POST"),
        ("GET", "/v2/repository/index", "OPTIONS, POST"),
        ("DELETE", "/v2/models/stats", "GET, HEAD, OPTIONS"),
    ],
)
async def test_a_wrong_method_is_405_with_the_allowed_methods(
    client: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    reply = await client.request(method, path)
    assert reply.status_code == 405
    assert reply.headers["allow"] == allowed
    assert f"{method} {path} is not allowed, expected " in reply.json()["error"]


async def test_options_lists_the_allowed_methods(client: httpx.AsyncClient) -> None:
    reply = await client.options("/v2/logging")
    assert (reply.status_code, reply.content) == (204, b"")
    assert reply.headers["allow"] == "GET, HEAD, OPTIONS, POST"


@pytest.mark.parametrize("path", ["/v2/health/live", "/metrics", "/v2/models/nobody"])
async def test_head_answers_as_get_without_the_body(client: httpx.AsyncClient, path: str) -> None:
    head, get = await client.head(path), await client.get(path)
    assert head.content == b""
    assert head.status_code == get.status_code
    assert head.headers["content-type"] == get.headers["content-type"]


async def test_an_internal_error_reveals_no_details_to_the_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    router = APIRouter()

    @router.get("/fails")
    async def fails() -> None:
        raise KeyError("a secret of the inside")

    transport = httpx.ASGITransport(app=edge_of(router))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        with caplog.at_level(logging.WARNING):
            reply = await client.get("/fails")
    assert (reply.status_code, reply.json()) == (500, {"error": "internal error"})
    (record,) = caplog.records
    assert record.getMessage() == "/fails failed: KeyError: 'a secret of the inside'"
    assert record.exc_info is None


async def test_an_invalid_parameter_is_described_in_one_sentence() -> None:
    router = APIRouter()

    @router.get("/double")
    async def double(number: int) -> int:
        return 2 * number

    transport = httpx.ASGITransport(app=edge_of(router))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        reply = await client.get("/double", params={"number": "x"})
    assert reply.status_code == 422
    assert reply.json()["error"].startswith("query.number: Input should be a valid integer")
