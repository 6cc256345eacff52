"""An inference request without ASGI: reading its body in pieces, and writing its reply."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from service.app import Server
from tests import tiny_models
from tests.inprocess import Wire, connect, serve
from tests.system.wire import post

pytestmark = pytest.mark.asyncio(loop_scope="module")
PATH = "/v2/models/same_fp32/infer"
LIMIT = 2**20
WAITING = "/v2/models/same_int32/infer"
PATIENT = "[batching]\nmax_queue_delay = 10\npreferred_batch_size = 8\n"
"""Settings with which requests wait for others in a batch."""
ALONE = b'{"inputs":[{"name":"x","datatype":"INT32","shape":[1,2],"data":[1,2]}]}'


def body(count: int = 2) -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, count], "data": [1] * count}
    return json.dumps({"inputs": [tensor]}).encode()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    folder = tmp_path_factory.mktemp("call")
    tiny_models.identity(folder, "FP32")
    tiny_models.identity(folder, "INT32")
    (folder / "same_int32/model.toml").write_text(PATIENT)
    async with serve(folder, max_body_bytes=LIMIT) as served:
        yield served.server


async def said(wire: Wire) -> bytes:
    """The next reply."""
    while not wire.written:
        await asyncio.sleep(0)
    reply = bytes(wire.written)
    wire.written.clear()
    return reply


def in_flight(server: Server) -> Any:
    return server.repository.model("same_int32").serving.batcher.in_flight  # type: ignore[union-attr]


async def test_a_body_that_arrives_in_pieces_is_answered(server: Server) -> None:
    protocol, wire = connect(server)
    for request in (post(PATH, body()), post(PATH, body(20_000))):
        for at in range(0, len(request), 1000):
            assert not wire.written
            protocol.data_received(request[at : at + 1000])
        assert (await said(wire)).startswith(b"HTTP/1.1 200")
    protocol.connection_lost(None)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("count", [2, 1000, 50_000])
async def test_replies_of_all_sizes_are_compressed(
    server: Server, encoding: str, count: int
) -> None:
    protocol, wire = connect(server)
    protocol.data_received(post(PATH, body(count), Accept_Encoding=encoding))
    head = (await said(wire)).partition(b"\r\n\r\n")[0]
    assert (f"content-encoding: {encoding}".encode() in head) is (count > 2)
    protocol.connection_lost(None)


@pytest.mark.parametrize("length", [LIMIT + 1, 2**62])
async def test_a_body_that_is_too_large_is_refused_from_its_headers(
    server: Server, length: int
) -> None:
    protocol, wire = connect(server)
    protocol.data_received(post(PATH, b"", Content_Length=str(length)))
    reply = await said(wire)
    assert reply.startswith(b"HTTP/1.1 413") and b"connection: close" in reply
    protocol.data_received(bytes(1000))
    assert not wire.written
    protocol.connection_lost(None)


async def test_a_request_of_a_disconnected_client_leaves_the_queue(server: Server) -> None:
    protocol, _ = connect(server)
    protocol.data_received(post(WAITING, ALONE))
    assert in_flight(server) == 1
    protocol.connection_lost(None)
    for _ in range(10):
        await asyncio.sleep(0)
    assert in_flight(server) == 0


async def test_waiting_requests_get_an_error_when_the_server_stops(server: Server) -> None:
    protocol, wire = connect(server)
    protocol.data_received(post(WAITING, ALONE))
    protocol.stop()
    reply = await said(wire)
    assert reply.startswith(b"HTTP/1.1 503") and b"the server stopped" in reply
    protocol.connection_lost(None)
