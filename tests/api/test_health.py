"""Live at once; ready when what can be loaded is; and the reason where not."""

from pathlib import Path

import httpx
import pytest

from tests.inprocess import ROOT, serve

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_server_that_serves_is_live_and_ready(client: httpx.AsyncClient) -> None:
    live, ready = await client.get("/v2/health/live"), await client.get("/v2/health/ready")
    assert (live.status_code, live.json()) == (200, {"live": True})
    assert (ready.status_code, ready.json()) == (200, {"ready": True})


@pytest.mark.parametrize("path", ["/v2/models/digits/ready", "/v2/models/digits/versions/2/ready"])
async def test_a_model_that_serves_is_ready(client: httpx.AsyncClient, path: str) -> None:
    reply = await client.get(path)
    assert (reply.status_code, reply.json()) == (200, {"name": "digits", "ready": True})


async def test_while_models_load_the_server_is_live_and_not_ready() -> None:
    async with serve(ROOT / "models", load=False) as served:
        live = await served.client.get("/v2/health/live")
        ready = await served.client.get("/v2/health/ready")
        model = await served.client.get("/v2/models/digits/ready")
    why = "the server is starting or stopping"
    assert live.status_code == 200
    assert (ready.status_code, ready.json()) == (503, {"ready": False, "error": why})
    assert model.status_code == 503
    assert model.json()["error"] == 'model "digits" is UNAVAILABLE: not loaded'


async def test_a_broken_model_is_not_ready_and_says_why_while_the_server_is(tmp_path: Path) -> None:
    (tmp_path / "junk/1").mkdir(parents=True)
    (tmp_path / "junk/1/model.onnx").write_bytes(b"no graph")
    async with serve(tmp_path) as served:
        assert (await served.client.get("/v2/health/ready")).status_code == 200
        reply = await served.client.get("/v2/models/junk/ready")
    assert reply.status_code == 503
    assert reply.json()["ready"] is False
    assert 'model "junk" is UNAVAILABLE: version 1: load: ' in reply.json()["error"]
