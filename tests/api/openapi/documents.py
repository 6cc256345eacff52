"""Reads the OpenAPI document as its users do."""

import json
from collections.abc import Iterator
from typing import Any

import httpx

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
    """Yield (method, address, body) of every example, one for each model if there are several."""
    for path, operations in document["paths"].items():
        if path.startswith("/admin/") or path.endswith(("/load", "/unload")):
            continue  # these change the serving versions, or never end: they have their own tests
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


def shown(document: dict[str, Any], path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the examples of an operation: requests and answers."""
    operation = document["paths"][path]["post"]
    sent = operation["requestBody"]["content"]["application/json"]["examples"]
    return sent, operation["responses"]["200"]["content"]["application/json"]["examples"]
