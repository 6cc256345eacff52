"""Every example in the documentation works as it stands; the page needs no other host."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.api.inference_docs import InferenceResponse, PredictResponse
from tests.inprocess import ROOT, serve

pytestmark = pytest.mark.asyncio(loop_scope="session")

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
                if status == "200":
                    continue
                schema = response["content"]["application/json"]["schema"]["$ref"]
                assert "error" in schemas[schema.rpartition("/")[2]]["properties"]
            if "{name}" in path:
                assert "404" in operation["responses"], path


async def test_a_model_without_an_example_file_gets_zeros(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "models/diabetes", tmp_path / "diabetes")
    (tmp_path / "diabetes/example.json").write_text("not JSON")
    shutil.copytree(ROOT / "models/digits", tmp_path / "digits")
    (tmp_path / "digits/example.json").unlink()
    async with serve(tmp_path) as served:
        for method, address, body in documented(await openapi(served.client)):
            if address.endswith(("infer", "predict")):
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
