"""V1's status routes report models in the format of V1."""

from pathlib import Path

import httpx
import pytest

from tests.inprocess import serve

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_models_are_listed(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/models")).json() == {
        "models": ["diabetes", "digits"],
        "object": "list",
        "data": [],
    }


@pytest.mark.parametrize("path", ["/v1/models/digits", "/v1/models/digits/versions/2"])
async def test_a_ready_model_is_available(client: httpx.AsyncClient, path: str) -> None:
    reply = await client.get(path)
    status = {"error_code": "OK", "error_message": ""}
    assert reply.status_code == 200
    found = reply.json()
    assert found.pop("created") > 1.7e9
    assert found == {
        "name": "digits",
        "ready": True,
        "id": "digits",
        "object": "model",
        "owned_by": "quantserve",
        "model_version_status": [{"version": "2", "state": "AVAILABLE", "status": status}],
    }


async def test_a_model_that_failed_to_load_answers_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "junk/1").mkdir(parents=True)
    (tmp_path / "junk/1/model.onnx").write_bytes(b"no graph")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/model.toml").write_text("")
    async with serve(tmp_path) as served:
        junk = await served.client.get("/v1/models/junk")
        empty = await served.client.get("/v1/models/empty")
    assert (junk.status_code, empty.status_code) == (503, 503)
    (version,) = junk.json()["model_version_status"]
    assert version["state"] == "END" and version["status"]["error_code"] == "UNKNOWN"
    assert version["status"]["error_message"] in junk.json()["error"]
    assert "it has no version folder" in empty.json()["error"]
