"""The control plane over gRPC has the same keys, errors and audit as over HTTP."""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from grpc import StatusCode, aio
from pydantic import SecretStr

from service.api.grpc.control import client_of
from tests import repositories
from tests.api.grpc.calling import ADMIN, Calls, calling


@pytest_asyncio.fixture
async def calls(tmp_path: Path) -> AsyncIterator[Calls]:
    repositories.put(tmp_path, "m", 1, repositories.scale(2))
    async with calling(tmp_path) as each:
        yield each


async def code_of(call: Any) -> tuple[StatusCode, str]:
    with pytest.raises(aio.AioRpcError) as failed:
        await call
    return failed.value.code(), failed.value.details() or ""


async def test_metadata_and_configuration_are_returned(calls: Calls) -> None:
    found = await calls.ask("ModelMetadata", {"name": "m"})
    assert found["versions"] == ["1"]
    assert found["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1", "2"]}]
    config = (await calls.ask("ModelConfig", {"name": "m", "version": "1"}))["config"]
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": ["2"]}]
    assert config["instance_group"][0]["kind"] == "KIND_CPU"
    assert (await calls.ask("ServerMetadata"))["name"] == "quantserve"


async def test_a_configuration_has_the_same_fields_as_over_http(tmp_path: Path) -> None:
    repositories.put(tmp_path, "m", 1, repositories.scale(2))
    (tmp_path / "m/model.toml").write_text("[cache]\nmax_bytes = 100000\n")
    async with calling(tmp_path) as calls:
        answer = await calls.served.client.get("/v2/models/m/config")
        found = (await calls.ask("ModelConfig", {"name": "m"}))["config"]
    assert found.keys() == answer.json().keys() and "response_cache" in found


async def test_errors_have_codes_and_texts(calls: Calls) -> None:
    code, text = await code_of(calls.ask("ModelMetadata", {"name": "nobody"}))
    assert code is StatusCode.NOT_FOUND and '"nobody"' in text
    code, text = await code_of(calls.ask("ModelMetadata", {"name": "m/versions/1"}))
    assert code is StatusCode.NOT_FOUND
    code, text = await code_of(calls.ask("SystemSharedMemoryStatus"))
    assert code is StatusCode.UNIMPLEMENTED and "shared memory" in text
    trace = {"settings": {"trace_level": {"value": ["TIMESTAMPS"]}}}
    code, text = await code_of(calls.ask("TraceSetting", trace, metadata=ADMIN))
    assert code is StatusCode.INVALID_ARGUMENT and "trace" in text


async def test_readiness_is_true_or_false(calls: Calls) -> None:
    for name, version, ready in [("m", "1", True), ("m", "9", False), ("n", "", False)]:
        found = await calls.ask("ModelReady", {"name": name, "version": version})
        assert found.get("ready", False) is ready
    assert not await calls.ask("ModelReady", {"name": "m/versions/1"})
    assert await calls.ask("ServerLive") == {"live": True}
    assert await calls.ask("ServerReady") == {"ready": True}


async def test_changes_need_the_admin_key(calls: Calls) -> None:
    for call in ("RepositoryModelLoad", "RepositoryModelUnload"):
        code, text = await code_of(calls.ask(call, {"model_name": "m"}))
        assert code is StatusCode.UNAUTHENTICATED and "X-API-Key" in text
    assert await calls.ask("RepositoryModelUnload", {"model_name": "m"}, metadata=ADMIN) == {}
    assert (await calls.ask("ModelReady", {"name": "m"})).get("ready") is None


async def test_an_uploaded_model_is_in_the_index(calls: Calls) -> None:
    file = base64.b64encode(repositories.scale(3)).decode()
    parameters = {"file:2/model.onnx": {"bytes_param": file}}
    request = {"model_name": "m", "parameters": parameters}
    await calls.ask("RepositoryModelLoad", request, metadata=ADMIN)
    index = (await calls.ask("RepositoryIndex", {"ready": True}))["models"]
    assert {"name": "m", "version": "2", "state": "READY"} in index


async def test_a_load_continues_when_its_client_disconnects(calls: Calls) -> None:
    before = (await calls.ask("RepositoryIndex"))["models"]
    assert [each["version"] for each in before] == ["1"]
    file = base64.b64encode(repositories.scale(3)).decode()
    parameters = {"file:2/model.onnx": {"bytes_param": file}}
    asking = asyncio.ensure_future(
        calls.ask(
            "RepositoryModelLoad", {"model_name": "m", "parameters": parameters}, metadata=ADMIN
        )
    )
    while not any(calls.served.server.repository.root.path.glob("m/.*")):
        assert not asking.done()
        await asyncio.sleep(0)
    asking.cancel()
    async with asyncio.timeout(20):
        while not (await calls.ask("ModelReady", {"name": "m", "version": "2"})):
            await asyncio.sleep(0.02)


async def test_the_log_level_can_be_read_and_changed(calls: Calls) -> None:
    before = await calls.ask("LogSettings")
    verbose = {"settings": {"log_verbose_level": {"uint32_param": 1}}}
    found = await calls.ask("LogSettings", verbose, metadata=ADMIN)
    assert found["settings"]["log_verbose_level"] == {"uint32_param": 1}
    await calls.ask("LogSettings", before, metadata=ADMIN)


async def test_reading_metadata_needs_the_prediction_key(tmp_path: Path) -> None:
    repositories.put(tmp_path, "m", 1, repositories.scale(2))
    async with calling(tmp_path, api_key=SecretStr("predict")) as calls:
        code, _ = await code_of(calls.ask("ModelMetadata", {"name": "m"}))
        assert code is StatusCode.UNAUTHENTICATED
        key = (("authorization", "Bearer predict"),)
        assert (await calls.ask("ModelMetadata", {"name": "m"}, metadata=key))["name"] == "m"
        assert await calls.ask("ServerLive") == {"live": True}


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        ("ipv4:127.0.0.1:5000", ("127.0.0.1", 5000)),
        ("ipv6:%5B::1%5D:5000", ("::1", 5000)),
        ("ipv6:[::1]:5000", ("::1", 5000)),
        ("unix:/run/x", None),
        ("", None),
    ],
)
def test_the_address_of_a_client_is_parsed(peer: str, client: tuple[str, int] | None) -> None:
    assert client_of(peer) == client
