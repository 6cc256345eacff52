"""Every example in the documentation works as it stands; the page needs no other host."""

import asyncio
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from service.api.openapi.inference import InferenceResponse, PredictResponse
from tests import tiny_models
from tests.inprocess import ROOT, serve
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


DATA_PLANE = {
    "/v2/models/{name}/infer",
    "/v2/models/{name}/versions/{version}/infer",
    "/v1/models/{name}:predict",
    "/v1/models/{name}/versions/{version}:predict",
}


async def openapi(client: httpx.AsyncClient) -> dict[str, Any]:
    reply = await client.get("/openapi.json")
    assert reply.status_code == 200
    return dict(reply.json())


def documented(document: dict[str, Any]) -> Iterator[tuple[str, str, bytes | None]]:
    """(method, address, body) of every example: one for each model, where there is a choice."""
    for path, operations in document["paths"].items():
        if path.startswith("/admin/") or path.endswith(("/load", "/unload")):
            continue  # these change what serves, or never end: they have tests of their own
        for method, operation in operations.items():
            yield from examples(path, method, operation)


def examples(
    path: str, method: str, operation: dict[str, Any]
) -> Iterator[tuple[str, str, bytes | None]]:
    parameters = operation.get("parameters", [])
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    models = {key for each in parameters for key in each.get("examples", {})}
    for model in sorted(models) or [""]:
        address = path
        for each in parameters:
            chosen = each["examples"][model]["value"] if "examples" in each else each["example"]
            address = address.replace(f"{{{each['name']}}}", chosen)
        if body is None:
            yield method, address, None
        else:
            chosen = body["examples"][model]["value"] if "examples" in body else body["example"]
            yield method, address, json.dumps(chosen).encode()


async def test_every_documented_example_works(client: httpx.AsyncClient) -> None:
    document = await openapi(client)
    seen = 0
    for method, address, body in documented(document):
        assert "{" not in address, f"{address} has a parameter without an example"
        reply = await client.request(method, address, content=body)
        assert reply.status_code == 200, f"{method} {address}: {reply.text}"
        seen += 1
    assert seen > 40
    assert set(document["paths"]) >= DATA_PLANE


@pytest.mark.parametrize("model", ["diabetes", "digits"])
async def test_inference_answers_are_as_documented(client: httpx.AsyncClient, model: str) -> None:
    paths = (await openapi(client))["paths"]
    for path, answer in (
        ("/v2/models/{name}/infer", InferenceResponse),
        ("/v1/models/{name}:predict", PredictResponse),
    ):
        content = paths[path]["post"]["requestBody"]["content"]["application/json"]
        body = content["examples"][model]["value"]
        reply = await client.post(path.replace("{name}", model), json=body)
        parsed = answer.model_validate_json(reply.content, strict=True)
        assert set(reply.json()) <= set(answer.model_fields) and parsed


async def test_every_error_is_documented_as_one(client: httpx.AsyncClient) -> None:
    document = await openapi(client)
    schemas = document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert "422" not in operation["responses"]
            assert "default" in operation["responses"], path
            for status, response in operation["responses"].items():
                if status.startswith("2"):
                    continue
                schema = response["content"]["application/json"]["schema"]["$ref"]
                assert "error" in schemas[schema.rpartition("/")[2]]["properties"]
            if "{name}" in path and not path.startswith("/admin/"):
                assert "404" in operation["responses"], path


async def test_every_reference_leads_somewhere(client: httpx.AsyncClient) -> None:
    document = await openapi(client)
    text = json.dumps(document)
    assert "$defs" not in text
    for reference in set(re.findall(r'"\$ref": "([^"]+)"', text)):
        place: Any = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]
        assert place


UNDOCUMENTED = {"/v2/", "/openapi.json", "/docs", "/docs/assets/favicon.png"}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY")


async def test_each_address_takes_the_methods_that_it_allows_and_no_others(
    client: httpx.AsyncClient,
) -> None:
    paths = (await openapi(client))["paths"]
    for path in (*paths, *UNDOCUMENTED):
        address = re.sub(r"\{\w+\}", "1", path)  # a name that no model has
        options = await client.options(address)
        assert options.status_code == 204, path
        allowed = set(options.headers["allow"].split(", "))
        assert {method.upper() for method in paths.get(path, {})} <= allowed, path
        for method in METHODS:
            if path == "/metrics" and method == "GET":
                continue
            reply = await client.request(method, address)
            assert (reply.status_code == 405) == (method not in allowed), f"{method} {path}"
            if reply.status_code == 405:
                assert set(reply.headers["allow"].split(", ")) == allowed, f"{method} {path}"


async def test_a_model_without_an_example_file_gets_a_row_of_its_golden_set(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "models/diabetes", tmp_path / "diabetes")
    (tmp_path / "diabetes/example.json").write_text("not JSON")
    shutil.copytree(ROOT / "models/digits", tmp_path / "digits")
    (tmp_path / "digits/example.json").unlink()
    async with serve(tmp_path) as served:
        for method, address, body in documented(await openapi(served.client)):
            if address.endswith(("infer", "predict")):
                reply = await served.client.request(method, address, content=body)
                assert reply.status_code == 200, f"{method} {address}: {reply.text}"
                # Values of a patient and a drawn digit, not zeros.
                assert body and len(set(re.findall(rb"[0-9.]+", body))) > 8


def shown(document: dict[str, Any], path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The examples of an operation: what is sent, and the answers."""
    operation = document["paths"][path]["post"]
    sent = operation["requestBody"]["content"]["application/json"]["examples"]
    return sent, operation["responses"]["200"]["content"]["application/json"]["examples"]


async def test_the_answers_shown_are_those_that_the_models_give(client: httpx.AsyncClient) -> None:
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


async def test_the_answers_follow_a_swap(tmp_path: Path) -> None:
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


async def test_an_example_that_the_model_refuses_gives_way(tmp_path: Path) -> None:
    put(tmp_path, "m", 1, scale(2))
    put(tmp_path, "chosen", 1, gather())
    body = {"inputs": [{**X, "shape": [1, 3], "data": [1, 2, 3]}]}
    (tmp_path / "m/example.json").write_text(json.dumps(body))
    async with serve(tmp_path) as served:
        sent, answers = shown(await openapi(served.client), "/v2/models/{name}/infer")
    assert sent["m"]["value"]["inputs"][0]["data"] == [0.5, 1.2]
    # A table of one row takes no index but 0.
    assert sent["chosen"]["value"]["inputs"][0]["data"] == [0]
    assert answers["chosen"]["value"]["outputs"][0]["data"] == [7.0]


async def test_a_model_that_takes_long_holds_up_neither_the_page_nor_others(
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


async def test_reading_the_documentation_is_no_traffic(tmp_path: Path) -> None:
    put(tmp_path, "m", 1, scale(2))
    async with serve(tmp_path) as served:
        for _ in range(2):
            await openapi(served.client)
        stats = (await served.client.get("/v2/models/m/stats")).json()["model_stats"][0]
        assert stats["inference_count"] == 0
        assert stats["execution_count"] <= 2  # once for each protocol, and then they are known
        assert "quantserve_requests_total" in (await served.client.get("/metrics")).text


X = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
ODD_EXAMPLES = {
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "zeros": lambda path: (path.touch(), os.truncate(path, 8 * 2**30)),
    "no request": {"inputs": 1},
    "a list": [X],
    "null": None,
    "no inputs": {"inputs": []},
    "an input that is none": {"inputs": [1]},
    "a name that is none": {"inputs": [{**X, "name": []}]},
    "a negative shape": {"inputs": [{**X, "shape": [-1, -2]}]},
    "a shape of texts": {"inputs": [{**X, "shape": ["1", "2"]}]},
    "a shape of fractions": {"inputs": [{**X, "shape": [0.5, 4]}]},
    "a huge shape": {"inputs": [{**X, "shape": [2**62, 2**62]}]},
    "no shape": {"inputs": [{**X, "shape": None}]},
    "data that is one number": {"inputs": [{**X, "data": 2}]},
    "objects for data": {"inputs": [{**X, "data": [{"a": 1}, {"b": 2}]}]},
    "ragged data": {"inputs": [{**X, "data": [[1], [2, 3]]}]},
    "another name": {"inputs": [{**X, "name": "y", "parameters": {"a": []}}]},
    "not JSON": "{",
    "brackets": "[" * 100_000,
    "deep data": '{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": '
    + "[" * 900
    + "]" * 900
    + "}]}",
}


@pytest.mark.parametrize("case", ODD_EXAMPLES)
async def test_an_example_that_is_odd_is_passed_over(tmp_path: Path, case: str) -> None:
    path, odd = tmp_path / "m/example.json", ODD_EXAMPLES[case]
    put(tmp_path, "m", 1, scale(2))
    if callable(odd):
        odd(path)
    else:
        path.write_text(odd if isinstance(odd, str) else json.dumps(odd))
    async with serve(tmp_path) as served, asyncio.timeout(60):
        for method, address, body in documented(await openapi(served.client)):
            if address.endswith(("infer", "predict")):
                assert body and json.loads(body) in (
                    {"inputs": [{**X, "shape": [1, 2], "data": [0.5, 1.2]}]},
                    {"instances": [[0.5, 1.2]]},
                )
                reply = await served.client.request(method, address, content=body)
                assert reply.status_code == 200, f"{method} {address}: {reply.text}"


async def test_without_models_there_is_still_a_document(tmp_path: Path) -> None:
    async with serve(tmp_path) as served:
        document = await openapi(served.client)
    content = document["paths"]["/v2/models/{name}/infer"]["post"]["requestBody"]["content"]
    assert content["application/json"]["examples"] == {}


async def test_the_interface_comes_from_this_server_alone(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    links = re.findall(r'(?:src|href|url)[=:]\s*["\']([^"\']+)', page.text)
    assert "openapi.json" in links and len(links) >= 4
    for link in links:
        assert not re.match(r"\w+:|/", link), f"{link} is on another host, or not below a prefix"
        assert (await client.get(link)).status_code == 200, link
    missing = await client.get("/docs/assets/other.js")
    assert (missing.status_code, set(missing.json())) == (404, {"error"})


async def test_csv_is_documented_with_an_example_that_works(tmp_path: Path) -> None:
    put(tmp_path, "m", 1, scale(2))
    async with serve(tmp_path) as served:
        document = await openapi(served.client)
        content = document["paths"]["/v1/models/{name}:predict"]["post"]["requestBody"]["content"]
        text = content["text/csv"]["examples"]["m"]["value"]
        assert text == "x0,x1\n0.5,1.2\n"
        reply = await served.client.post(
            "/v1/models/m:predict", content=text, headers={"content-type": "text/csv"}
        )
    assert reply.json()["predictions"] == [pytest.approx([1.0, 2.4])]
