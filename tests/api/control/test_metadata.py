"""Metadata of the server and its models is correct."""

from pathlib import Path

import httpx
import numpy as np
import pytest

from service import __version__
from tests.inprocess import ROOT, serve

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_root_path_links_to_the_other_routes(client: httpx.AsyncClient) -> None:
    welcome = (await client.get("/")).json()
    assert (welcome["name"], welcome["version"]) == ("quantserve", __version__)
    links = [*welcome["models"], welcome["docs"], welcome["openapi"], welcome["metrics"]]
    for link in links:
        assert (await client.get(link)).status_code == 200, link


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
async def test_the_server_names_its_extensions(client: httpx.AsyncClient, path: str) -> None:
    reply = await client.get(path)
    assert reply.status_code == 200
    assert {"binary_tensor_data", "statistics"} <= set(reply.json()["extensions"])
    assert "trace" not in reply.json()["extensions"]


@pytest.mark.parametrize("path", ["/v2/models/diabetes", "/v2/models/diabetes/versions/1"])
async def test_model_metadata_lists_tensors_with_the_batch_axis(
    client: httpx.AsyncClient, path: str
) -> None:
    found = (await client.get(path)).json()
    assert found["versions"] == ["1"]
    assert found["platform"] == "onnxruntime_onnx"
    assert found["inputs"] == [
        {"name": "categories", "datatype": "INT64", "shape": [-1, 2]},
        {"name": "measurements", "datatype": "FP32", "shape": [-1, 8]},
    ]
    assert found["outputs"] == [{"name": "progression", "datatype": "FP32", "shape": [-1, 1]}]
    assert found["parameters"]["precision"] == "INT8 QDQ"
    assert found["parameters"]["batching"] == "combine"
    assert int(found["parameters"]["preferred_batch_size"]) >= 1
    assert found["parameters"]["kernels"] == "default"  # weights of seven bits cannot saturate
    assert np.isfinite(float(found["parameters"]["batch_deviation"]))


async def test_a_model_that_failed_to_load_answers_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "digits/1").mkdir(parents=True)
    model = (ROOT / "models/digits/1/model.onnx").read_bytes()
    (tmp_path / "digits/1/model.onnx").write_bytes(model)
    (tmp_path / "digits/model.toml").write_text("instances = 3")
    async with serve(tmp_path) as served:
        for path in ("/v2/models/digits", "/v2/models/digits/config"):
            reply = await served.client.get(path)
            assert reply.status_code == 503
            assert "model.toml: instances" in reply.json()["error"]
