"""The OpenAPI document: all routes, those of the data plane too, with examples of the models that
serve at the moment, so that each of them can be tried as it stands.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cache
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.api.examples import Example, examples
from service.api.inference_docs import inference_docs
from service.engine.repository import ModelRepository

Document = dict[str, Any]
PATH_EXAMPLES: dict[str, Callable[[Example], str]] = {
    "name": lambda example: example.model,
    "version": lambda example: example.version,
}
BODY_EXAMPLES: dict[str, Callable[[Example], Document | None]] = {
    "InferenceRequest": lambda example: example.infer,
    "PredictRequest": lambda example: example.predict,
}
TAGS = {
    "inference": "Open Inference Protocol v2: JSON here; raw tensors with its binary extension",
    "V1": "The older protocol, for people and curl",
    "health": "For load balancers and orchestrators",
    "metadata": "What the server speaks, what models take and give",
    "statistics": "What was done so far",
    "repository": "What there is to serve",
    "admin": "Which version of a model serves, and the way there",
    "settings": "What can be changed while the server runs",
    "metrics": "For Prometheus",
}


def document(app: FastAPI, repository: ModelRepository) -> Callable[[], Document]:
    """What gives the document of the application, made anew for every call."""

    @cache
    def lasting() -> Document:
        routes = [*inference_docs().routes, *app.routes]
        tags = [{"name": name, "description": text} for name, text in TAGS.items()]
        found = get_openapi(title=app.title, version=app.version, routes=routes, tags=tags)
        for path in found["paths"].values():
            for operation in path.values():
                schema = _json_body(operation).get("schema", {})
                found["components"]["schemas"].update(schema.pop("$defs", {}))
        return found

    def current() -> Document:
        result = deepcopy(lasting())
        known = list(examples(repository))
        folder = repository.folder.resolve().name
        for path in result["paths"].values():
            for operation in path.values():
                _illustrate(operation, known, folder)
        return result

    return current


def _illustrate(operation: Document, known: Sequence[Example], folder: str) -> None:
    """Give an operation's parameters and body an example for each model, under its name."""
    for parameter in operation.get("parameters", []):
        if parameter["name"] in PATH_EXAMPLES:
            value = PATH_EXAMPLES[parameter["name"]]
            parameter["examples"] = {e.model: {"value": value(e)} for e in known}
        elif parameter["name"] == "repository_name":
            parameter["example"] = folder
    content = _json_body(operation)
    body = BODY_EXAMPLES.get(content.get("schema", {}).get("$ref", "").rpartition("/")[2])
    if body is not None:
        bodies = ((example.model, body(example)) for example in known)
        content["examples"] = {name: {"value": found} for name, found in bodies if found}
    if (table := _body(operation, "text/csv")) is not None:
        texts = {example.model: example.csv for example in known}
        table["examples"] = {name: {"value": text} for name, text in texts.items() if text}


def _json_body(operation: Document) -> Document:
    """What an operation takes as JSON; empty where it takes none."""
    return _body(operation, "application/json") or {}


def _body(operation: Document, media_type: str) -> Document | None:
    found: Document | None = operation.get("requestBody", {}).get("content", {}).get(media_type)
    return found
