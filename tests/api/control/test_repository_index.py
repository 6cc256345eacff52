"""The index lists every known version with its state, on several routes."""

import os
from pathlib import Path

import httpx
import pytest

from tests.inprocess import Served, serve
from tests.repositories import put, scale

pytestmark = pytest.mark.asyncio(loop_scope="session")

READY = [
    {"name": "diabetes", "version": "1", "state": "READY", "reason": ""},
    {"name": "digits", "version": "2", "state": "READY", "reason": ""},
]
PATHS = ["/v2/repository/index", "/v2/repository/models/index"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", [b"", b"{}", b' {"ready": false} '])
async def test_the_index_has_every_version(
    client: httpx.AsyncClient, path: str, body: bytes
) -> None:
    entries = (await client.post(path, content=body)).json()
    old = {"name": "digits", "version": "1", "state": "UNAVAILABLE", "reason": "not loaded"}
    assert entries == [READY[0], old, READY[1]]


@pytest.mark.parametrize("path", PATHS)
async def test_the_index_can_be_limited_to_ready_versions(
    client: httpx.AsyncClient, path: str
) -> None:
    assert (await client.post(path, content=b'{"ready": true}')).json() == READY


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"{", 400, "not JSON"),
        (b"[]", 400, "expected an object"),
        (b'{"ready": "yes"}', 400, '"ready" must be true or false'),
        (b" " * 100_000, 413, "more than 65536 bytes"),
    ],
)
async def test_an_invalid_body_is_refused_with_the_reason(
    client: httpx.AsyncClient, body: bytes, status: int, text: str
) -> None:
    reply = await client.post("/v2/repository/index", content=body)
    assert reply.status_code == status
    assert text in reply.json()["error"]


async def test_an_unknown_repository_is_not_found(client: httpx.AsyncClient) -> None:
    reply = await client.post("/v2/repository/other/index")
    error = 'there is no repository "other", only "models"'
    assert (reply.status_code, reply.json()) == (404, {"error": error})


async def test_models_that_cannot_be_loaded_are_listed_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "junk/3").mkdir(parents=True)
    (tmp_path / "junk/3/model.onnx").write_bytes(b"no graph")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/model.toml").write_text("")
    async with serve(tmp_path) as served:
        empty, junk = (await served.client.post("/v2/repository/index")).json()
    why = "it has no version folder and no .onnx file, as in 1/model.onnx or model.onnx;"
    why += " it holds model.toml"
    assert empty == {"name": "empty", "state": "UNAVAILABLE", "reason": why}
    assert (junk["version"], junk["state"]) == ("3", "UNAVAILABLE")
    assert junk["reason"]


async def test_ignored_folders_are_listed_by_path_with_the_reason(tmp_path: Path) -> None:
    put(tmp_path, "m", 2, scale(2))
    (tmp_path / "m/v3").mkdir()
    (tmp_path / "m/1").mkdir()
    (tmp_path / "mod\u00e8le").mkdir()
    (tmp_path / os.fsdecode(b"caf\xe9\n")).mkdir()
    (tmp_path / "README.md").touch()
    async with serve(tmp_path) as served:
        entries = (await served.client.post("/v2/repository/index")).json()
        ready = (await served.client.post("/v2/repository/index", content=b'{"ready":true}')).json()
    found = {(each["name"], each.get("version")): each for each in entries}
    assert found.keys() == {
        ("m", "1"), ("m", "2"), ("m/v3", None), ("mod\u00e8le", None), (r"caf\xe9\n", None),
    }  # fmt: skip
    assert [each["name"] for each in ready] == ["m"]
    assert {each["state"] for key, each in found.items() if key != ("m", "2")} == {"UNAVAILABLE"}
    assert found["m", "1"]["reason"] == "there is no model.onnx in the folder of the version"
    assert found["m/v3", None]["reason"].endswith("rename it to 3")
    assert found["mod\u00e8le", None]["reason"].endswith("rename it to modele")


async def test_a_request_for_an_ignored_folder_is_404_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "style").mkdir()
    (tmp_path / "style/model.pt").touch()
    async with serve(tmp_path) as served:
        reply = await served.client.get("/v2/models/style")
    assert reply.status_code == 404
    assert "PyTorch is not served, only ONNX is" in reply.json()["error"]


async def test_models_are_listed_with_their_versions_without_an_admin_key(
    served: Served, client: httpx.AsyncClient
) -> None:
    transport = httpx.ASGITransport(app=served.server)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as anybody:
        found = (await anybody.get("/v2/models")).json()
    ready = {"state": "READY", "reason": ""}
    old = {"version": "1", "state": "UNAVAILABLE", "reason": "not loaded"}
    one, two = ({"version": number, **ready} for number in "12")
    assert found == {
        "models": [
            {"name": "diabetes", **ready, "serving": "1", "versions": [one]},
            {"name": "digits", **ready, "serving": "2", "versions": [old, two]},
        ]
    }
    assert (await client.get("/v2/models/")).json() == found


async def test_a_model_that_failed_to_load_is_listed_with_the_reason(tmp_path: Path) -> None:
    put(tmp_path, "broken", 1, b"no model")
    async with serve(tmp_path) as broken:
        (found,) = (await broken.client.get("/v2/models")).json()["models"]
    assert (found["name"], found["state"]) == ("broken", "UNAVAILABLE")
    assert found["reason"] and "serving" not in found
    assert [each["state"] for each in found["versions"]] == ["UNAVAILABLE"]
    assert found["versions"][0]["reason"]
