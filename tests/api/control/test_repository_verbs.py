"""Load and unload as the protocol defines them; bodies are read with any Content-Type."""

import base64
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from service.api.auth.audit import Audit
from service.api.control.repository_verbs import repository_verbs
from service.api.transport.arrival import Limits
from service.api.transport.traffic import Traffic
from service.config.model import ModelConfig
from tests.guards import edge_of
from tests.inprocess import Served, serve
from tests.repositories import put, scale

pytestmark = pytest.mark.asyncio(loop_scope="function")


@pytest_asyncio.fixture(loop_scope="function")
async def scales(tmp_path: Path) -> AsyncIterator[Served]:
    for number in (1, 2):
        put(tmp_path, "m", number, scale(number))
    async with serve(tmp_path) as served:
        yield served


async def ask(served: Served, verb: str, body: Any = None, name: str = "m") -> httpx.Response:
    content = b"" if body is None else json.dumps(body).encode()
    return await served.client.post(f"/v2/repository/models/{name}/{verb}", content=content)


async def states(served: Served) -> dict[str, str]:
    entries = (await served.client.post("/v2/repository/index")).json()
    return {each["version"]: f"{each['state']} {each['reason']}".strip() for each in entries}


@pytest.mark.parametrize("body", [None, {}, {"parameters": {}}])
async def test_a_load_serves_the_newest_version_and_has_an_empty_answer(
    scales: Served, body: Any
) -> None:
    put(scales.server.repository.folder, "m", 3, scale(3))
    assert (await states(scales))["3"] == "UNAVAILABLE not loaded"
    reply = await ask(scales, "load", body)
    assert (reply.status_code, reply.content) == (200, b"")
    assert (await states(scales))["3"] == "READY"


async def test_an_unloaded_model_is_listed_as_unloaded(scales: Served) -> None:
    reply = await ask(scales, "unload", {"parameters": {"unload_dependents": False}})
    assert (reply.status_code, reply.content) == (200, b"")
    assert set((await states(scales)).values()) == {"UNAVAILABLE unloaded"}
    refused = await scales.client.get("/v2/models/m/ready")
    assert refused.status_code == 503 and "unloaded" in refused.json()["error"]
    assert (await ask(scales, "load")).status_code == 200
    assert (await states(scales))["2"] == "READY"


async def test_a_configuration_overrides_model_toml(scales: Served) -> None:
    before = (await scales.client.get("/v2/models/m/config")).json()
    before["max_batch_size"] = 16
    body = {"parameters": {"config": json.dumps(before)}}
    assert (await ask(scales, "load", body)).status_code == 200
    assert (await scales.client.get("/v2/models/m/config")).json()["max_batch_size"] == 16
    assert scales.server.repository.model("m").folder.config == ModelConfig.model_validate(
        {
            "batching": {
                "max_batch_size": 16,
                "preferred_batch_size": before["dynamic_batching"]["preferred_batch_size"][0],
            },
            "instances": {"count": 1},
        }
    )


def parameters(**values: Any) -> dict[str, Any]:
    return {"parameters": values}


BAD: list[tuple[str, Any, int, str]] = [
    ("load", [], 400, "expected an object"),
    ("load", {"parameter": {}}, 400, 'unknown key "parameter"'),
    ("load", {"parameters": []}, 400, '"parameters" must be an object'),
    ("load", parameters(config={}), 400, '"config" must be a string'),
    ("load", parameters(config="{"), 400, "config is not JSON"),
    ("load", parameters(config='{"ensemble_scheduling": {}}'), 400, "ensemble_scheduling is not"),
    (
        "load",
        parameters(config='{"input": [{"name": "z", "data_type": "TYPE_FP32", "dims": [2]}]}'),
        400,
        'there is no tensor "z"',
    ),
    ("load", parameters(other=1), 400, 'unknown parameter "other"'),
    ("load", {"parameters": {"file:3/model.onnx": "??"}}, 400, "is not base64"),
    ("load", {"parameters": {"file:3/model.onnx": "é"}}, 400, "is not base64"),
    ("load", {"parameters": {"file:3/model.onnx": 3}}, 400, "must be a string in base64"),
    ("load", {"parameters": {"file:3/lib.so": ""}}, 400, "or code"),
    ("load", {"parameters": {"file:model.toml": ""}}, 400, "is not in a version"),
    ("load", {"parameters": {"file:lib.so": ""}}, 400, "is not in a version"),
    ("load", parameters(config='{"session": {"custom_ops": "lib.so"}}'), 400, "are code"),
    ("unload", {"parameters": {"unload_dependents": 1}}, 400, "true or false"),
    ("unload", {"parameters": {"force": True}}, 400, 'unknown key "force"'),
]


@pytest.mark.parametrize(("verb", "body", "status", "text"), BAD)
async def test_invalid_requests_are_refused_and_change_nothing(
    scales: Served, verb: str, body: Any, status: int, text: str
) -> None:
    reply = await ask(scales, verb, body)
    assert reply.status_code == status and text in reply.json()["error"]
    assert (await states(scales))["2"] == "READY"


async def test_a_body_with_too_many_values_is_refused_before_parsing(scales: Served) -> None:
    lists = b'{"parameters": {"config": [' + b"[]," * 10_000 + b"[]]}}"
    keys = {"parameters": {f"file:1/{number}": "" for number in range(20_000)}}
    for body in (lists, json.dumps(keys).encode()):
        answer = await scales.client.post("/v2/repository/models/m/load", content=body)
        assert answer.status_code == 400 and "at most 16384 are allowed" in answer.text


@pytest.mark.parametrize("verb", ["load", "unload"])
@pytest.mark.parametrize("name", ["nobody", "..%2Fm", ".hidden"])
async def test_an_unknown_model_is_not_found(scales: Served, verb: str, name: str) -> None:
    assert (await ask(scales, verb, name=name)).status_code == 404


async def test_a_failed_load_is_an_error_and_the_old_version_keeps_serving(
    scales: Served,
) -> None:
    put(scales.server.repository.folder, "m", 3, b"no graph")
    reply = await ask(scales, "load")
    assert reply.status_code == 409 and "version 3 is not fit to serve" in reply.json()["error"]
    assert (await scales.client.get("/v2/models/m/ready")).status_code == 200


async def test_files_are_published_before_the_model_is_loaded(scales: Served) -> None:
    folder = scales.server.repository.folder

    async def publish(model: str, files: Mapping[str, bytes]) -> None:
        assert list(files) == ["3/model.onnx"]
        put(folder, model, 3, files["3/model.onnx"])

    audit = Audit(lambda _: None)
    router = repository_verbs(
        scales.server.repository, Limits(2**20, 5.0, Traffic(2**26)), publish, audit
    )
    transport = httpx.ASGITransport(app=edge_of(router))
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        text = base64.b64encode(scale(3)).decode()
        for model in ("m", "new"):
            body = {"parameters": {"file:3/model.onnx": text}}
            reply = await client.post(f"/v2/repository/models/{model}/load", json=body)
            assert reply.status_code == 200, reply.text
    assert (await states(scales))["3"] == "READY"


async def test_a_configuration_may_set_the_file_name(scales: Served, tmp_path: Path) -> None:
    (tmp_path / "m/2/other.onnx").write_bytes(scale(20))
    config = (await scales.client.get("/v2/models/m/config")).json()
    assert config["default_model_filename"] == "model.onnx"
    for name, status in (("other.onnx", 200), ("../../x.onnx", 400), ("nobody.onnx", 409)):
        text = json.dumps({"default_model_filename": name})
        reply = await ask(scales, "load", {"parameters": {"config": text}})
        assert reply.status_code == status, reply.text
        if status == 200:
            config = (await scales.client.get("/v2/models/m/config")).json()
            assert config["default_model_filename"] == "other.onnx"


async def test_files_cannot_be_added_to_a_model_in_the_root(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(scale(1))
    text = base64.b64encode(scale(2)).decode()
    async with serve(tmp_path, name="m") as served:
        reply = await ask(served, "load", {"parameters": {"file:1/model.onnx": text}})
        assert reply.status_code == 409 and "move its file to m/1/model.onnx" in reply.text
        assert (await ask(served, "load")).status_code == 200
