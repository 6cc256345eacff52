"""The server is live at once and ready when models are loaded, or answers with the reason."""

from pathlib import Path

import httpx
import pytest

from tests.inprocess import ROOT, serve
from tests.repositories import put, scale

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_server_with_loaded_models_is_live_and_ready(client: httpx.AsyncClient) -> None:
    live, ready = await client.get("/v2/health/live"), await client.get("/v2/health/ready")
    assert (live.status_code, live.json()) == (200, {"live": True})
    assert (ready.status_code, ready.json()) == (200, {"ready": True})


@pytest.mark.parametrize("path", ["/v2/models/digits/ready", "/v2/models/digits/versions/2/ready"])
async def test_a_loaded_model_is_ready(client: httpx.AsyncClient, path: str) -> None:
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


async def test_a_broken_model_gives_its_reason_while_the_server_is_ready(tmp_path: Path) -> None:
    put(tmp_path, "m", 1, scale(2))
    put(tmp_path, "junk", 1, b"no graph")
    async with serve(tmp_path) as served:
        assert (await served.client.get("/v2/health/ready")).status_code == 200
        reply = await served.client.get("/v2/models/junk/ready")
    assert reply.status_code == 503
    assert reply.json()["ready"] is False
    assert 'model "junk" is UNAVAILABLE: version 1: load: ' in reply.json()["error"]


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ("", "the models folder holds no model, expected <name>/1/model.onnx or <name>/model.onnx"),
        ("README.md", "the models folder holds no model, expected "),
        (
            "style/model.pt",
            "style: it has no version folder and no .onnx file, as in 1/model.onnx or",
        ),
        ("my model/1/model.onnx", "my model: it cannot be the name of a model (ASCII letters"),
        ("junk/1/model.onnx", "junk: version 1: load: model.onnx is not an ONNX model"),
    ],
)
async def test_a_server_without_models_is_ready_only_with_allow_empty(
    tmp_path: Path, made: str, reason: str
) -> None:
    if made:
        (tmp_path / made).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / made).write_bytes(b"no graph")
    async with serve(tmp_path) as served, serve(tmp_path, allow_empty=True) as patient:
        reply = await served.client.get("/v2/health/ready")
        assert (reply.status_code, reply.json()["ready"]) == (503, False)
        assert reply.json()["error"].startswith(f"nothing to serve: {reason}")
        assert (await served.client.get("/v2/health/live")).status_code == 200
        assert (await served.client.get("/")).json()["ready"] is False
        assert (await patient.client.get("/v2/health/ready")).status_code == 200


async def test_the_number_of_listed_reasons_is_limited(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"empty-{number}").mkdir()
    async with serve(tmp_path) as served:
        error = (await served.client.get("/v2/health/ready")).json()["error"]
    assert "empty-2" in error and "empty-3" not in error
    assert error.endswith("; and 2 more, see POST /v2/repository/index")


async def test_a_server_is_not_ready_after_its_last_model_is_unloaded(tmp_path: Path) -> None:
    put(tmp_path, "m", 1, scale(2))
    async with serve(tmp_path) as served:
        assert (await served.client.get("/v2/health/ready")).status_code == 200
        await served.server.repository.unload("m")
        reply = await served.client.get("/v2/health/ready")
        assert (reply.status_code, reply.json()["error"]) == (503, "nothing to serve: m: unloaded")
        await served.server.repository.load("m")
        assert (await served.client.get("/v2/health/ready")).status_code == 200
