"""Routes of shared memory on a server that does not support it."""

import os

import pytest

from tests.inprocess import ROOT, serve

PREFIX = f"qs-routes-{os.getpid()}-"
PATH = "/v2/systemsharedmemory"


@pytest.mark.parametrize("kind", ["system", "cuda"])
async def test_every_route_answers_that_shared_memory_is_not_supported(kind: str) -> None:
    async with serve(ROOT / "models", load=False) as served:
        for path in ("status", "region/a/status", "region/a%2Fb/register", "unregister", ""):
            for method in ("GET", "POST"):
                reply = await served.client.request(method, f"/v2/{kind}sharedmemory/{path}")
                assert reply.status_code == 501
                assert reply.json()["error"].startswith("shared memory is not supported")
