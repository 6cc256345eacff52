"""The driver of a connection frees closed connections."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Iterator
from weakref import ref

import pytest
import pytest_asyncio

from service.app import Server
from tests import tiny_models
from tests.inprocess import connect, serve
from tests.patience import until
from tests.system.wire import chunked, get, post

pytestmark = pytest.mark.asyncio(loop_scope="module")
PATH = "/v2/models/same_fp32/infer"
TENSOR = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1]}
BODY = json.dumps({"inputs": [TENSOR]}).encode()
REQUESTS = {
    "answered": post(PATH, BODY),
    "refused": post(PATH, b"{"),
    "refused before its end": post(PATH, bytes(2000))[:-500],
    "refused in chunks": chunked(PATH, bytes(2000), size=100),
    "broken off": post(PATH, BODY)[:-5],
    "in the head": post(PATH, BODY)[:40],
    "the other way": post(PATH, BODY, Expect="100-continue"),
    "control": get("/v2/health/live"),
    "none": b"",
}


@pytest.fixture
def no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    folder = tmp_path_factory.mktemp("direct")
    tiny_models.identity(folder, "FP32")
    async with serve(folder, max_body_bytes=1024) as served:
        yield served.server


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("name", REQUESTS)
async def test_a_closed_connection_is_freed_at_once(server: Server, name: str) -> None:
    """It is freed without the garbage collector, whose pause grows with thousands of
    connections."""
    protocol, _ = connect(server)
    protocol.data_received(REQUESTS[name])
    for _ in range(20):
        await asyncio.sleep(0)
    protocol.connection_lost(None)
    gone = ref(protocol)
    del protocol
    await asyncio.to_thread(until, lambda: gone() is None)
