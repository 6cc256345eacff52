"""The OpenAPI document is complete, and every example in it works unchanged."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.openapi.documents import DATA_PLANE, documented, openapi
from tests.inprocess import serve

pytestmark = pytest.mark.asyncio(loop_scope="session")


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


async def test_every_error_response_is_documented(client: httpx.AsyncClient) -> None:
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


async def test_every_reference_can_be_resolved(client: httpx.AsyncClient) -> None:
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


async def test_each_path_accepts_only_its_allowed_methods(
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


async def test_the_document_exists_without_models(tmp_path: Path) -> None:
    async with serve(tmp_path) as served:
        document = await openapi(served.client)
    content = document["paths"]["/v2/models/{name}/infer"]["post"]["requestBody"]["content"]
    assert content["application/json"]["examples"] == {}
