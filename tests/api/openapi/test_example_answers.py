"""The answers in the documentation are the models' real answers."""

import asyncio
import json
from pathlib import Path

import httpx
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests import tiny_models
from tests.api.openapi.documents import DATA_PLANE, openapi, shown
from tests.inprocess import serve
from tests.repositories import put, scale

pytestmark = pytest.mark.asyncio(loop_scope="session")


def gather() -> bytes:
    """``x`` INT64 [-1] picks of the one row 7 as ``y``."""
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        "gather",
        [helper.make_tensor_value_info("x", TensorProto.INT64, ["batch"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch"])],
        [numpy_helper.from_array(np.float32([7]), "table")],
    )
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()


X = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}


async def test_documented_answers_are_the_real_answers_of_the_models(
    client: httpx.AsyncClient,
) -> None:
    document = await openapi(client)
    for path in sorted(DATA_PLANE):
        sent, answers = shown(document, path)
        assert sent.keys() == answers.keys() == {"diabetes", "digits"}
        for model, example in sent.items():
            address = path.replace("{name}", model)
            address = address.replace("{version}", {"digits": "2", "diabetes": "1"}[model])
            reply = await client.post(address, json=example["value"])
            assert reply.json() == answers[model]["value"]
    metadata = document["paths"]["/v2/models/{name}"]["get"]["responses"]["200"]["content"]
    for model, example in metadata["application/json"]["examples"].items():
        assert (await client.get(f"/v2/models/{model}")).json() == example["value"]


async def test_documented_answers_change_after_a_swap(tmp_path: Path) -> None:
    put(tmp_path, "m", 1, scale(2))
    put(tmp_path, "m", 2, scale(3))
    async with serve(tmp_path) as served:
        for version, values in ((2, [1.5, 3.6]), (1, [1.0, 2.4])):
            swap = await served.client.post("/admin/models/m/swap", json={"version": version})
            assert swap.status_code == 200
            document = await openapi(served.client)
            _, answers = shown(document, "/v2/models/{name}/infer")
            answer = answers["m"]["value"]
            assert answer["model_version"] == str(version)
            assert answer["outputs"][0]["data"] == pytest.approx(values)
            assert shown(document, "/v1/models/{name}:predict")[1]["m"]["value"] == {
                "predictions": [pytest.approx(values)]
            }


async def test_an_example_that_the_model_refuses_is_replaced(tmp_path: Path) -> None:
    put(tmp_path, "m", 1, scale(2))
    put(tmp_path, "chosen", 1, gather())
    body = {"inputs": [{**X, "shape": [1, 3], "data": [1, 2, 3]}]}
    (tmp_path / "m/example.json").write_text(json.dumps(body))
    async with serve(tmp_path) as served:
        sent, answers = shown(await openapi(served.client), "/v2/models/{name}/infer")
    assert sent["m"]["value"]["inputs"][0]["data"] == [0.5, 1.2]
    # A table of one row accepts only the index 0.
    assert sent["chosen"]["value"]["inputs"][0]["data"] == [0]
    assert answers["chosen"]["value"]["outputs"][0]["data"] == [7.0]


async def test_a_slow_model_delays_neither_the_page_nor_other_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.openapi.example_answers.SECONDS", 0.2)
    put(tmp_path, "quick", 1, scale(2))
    tiny_models.counting(tmp_path, "slow")
    body = {"inputs": [{"name": "n", "datatype": "INT64", "shape": [1], "data": [10**9]}]}
    (tmp_path / "slow/example.json").write_text(json.dumps(body))
    async with serve(tmp_path) as served:
        asking = asyncio.ensure_future(openapi(served.client))
        while not served.server.repository.model("slow").serving.batcher.in_flight:  # type: ignore[union-attr]
            await asyncio.sleep(0)
        reply = await served.client.get("/v2/models/quick")
        assert reply.status_code == 200
        assert not asking.done()
        sent, answers = shown(await asking, "/v2/models/{name}/infer")
    assert sent["slow"]["value"] == body
    assert answers.keys() == {"quick"}


async def test_reading_the_documentation_is_not_counted_as_inference(tmp_path: Path) -> None:
    put(tmp_path, "m", 1, scale(2))
    async with serve(tmp_path) as served:
        for _ in range(2):
            await openapi(served.client)
        stats = (await served.client.get("/v2/models/m/stats")).json()["model_stats"][0]
        assert stats["inference_count"] == 0
        assert stats["execution_count"] <= 2  # once for each protocol; then the answers are cached
        assert "quantserve_requests_total" in (await served.client.get("/metrics")).text
