"""The OpenAPI document: all routes, including those of the data plane, with examples for the models
that are serving now. The examples can be sent without changes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from functools import cache
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.api.control.metadata import ModelMetadata, describe
from service.api.openapi.example_answers import ExampleAnswers
from service.api.openapi.examples import Example, examples
from service.api.openapi.inference import inference_docs
from service.api.openapi.language import TAGS as TAGS_OF_LANGUAGE
from service.api.openapi.language import fit, language_models, text_models
from service.core.errors import NotFound, NotReady
from service.core.texts import Task
from service.engine.repository.repository import ModelRepository

Document = dict[str, Any]
PATH_EXAMPLES: dict[str, Callable[[Example], str]] = {
    "name": lambda example: example.model,
    "version": lambda example: example.version,
}
Shown = Callable[[Example], Document | None]
BODY_EXAMPLES: dict[str, tuple[Shown, Shown]] = {
    "InferenceRequest": (lambda example: example.infer, lambda example: example.infer_answer),
    "PredictRequest": (lambda example: example.predict, lambda example: example.predict_answer),
}
"""The parts of an example that are shown as the request's body and as the answer."""
TAGS = {
    "inference": "Open Inference Protocol v2: JSON here; raw tensors with its binary extension",
    "V1": "The older protocol, easy to use by hand and with curl",
    "health": "For load balancers and orchestrators",
    "metadata": "Extensions of the server, inputs and outputs of models",
    "statistics": "Counts and times of requests since the start",
    "repository": "The models in the repository: list, load and unload",
    "admin": "The versions of a model: upload, swap, rollback and events",
    "settings": "Settings that can be changed while the server runs",
    "metrics": "For Prometheus",
}


def document(
    app: FastAPI, repository: ModelRepository, answers: ExampleAnswers
) -> Callable[[], Awaitable[Document]]:
    """Return a function that builds the document of the application anew at every call. It reads
    files and builds the document in threads, because both take long."""

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

    def illustrated(known: Sequence[Example]) -> Document:
        result = deepcopy(lasting())
        folder = repository.folder.resolve().name
        described = dict(_described(repository, known))
        for path in result["paths"].values():
            for operation in path.values():
                _illustrate(operation, known, folder)
                answer = _json_answer(operation)
                if _schema(answer) == ModelMetadata.__name__:
                    answer["examples"] = described
        fit(result, TAGS_OF_LANGUAGE, language_models(repository))
        for task in Task:
            fit(result, {task.value}, text_models(repository, task))
        return result

    async def current() -> Document:
        found = await asyncio.to_thread(lambda: list(examples(repository)))
        return await asyncio.to_thread(illustrated, await answers(found))

    return current


def _illustrate(operation: Document, known: Sequence[Example], folder: str) -> None:
    """Add an example for each model, under its name, to an operation's parameters and body."""
    for parameter in operation.get("parameters", []):
        if parameter["name"] in PATH_EXAMPLES:
            value = PATH_EXAMPLES[parameter["name"]]
            parameter["examples"] = {e.model: {"value": value(e)} for e in known}
        elif parameter["name"] == "repository_name":
            parameter["example"] = folder
    content = _json_body(operation)
    shown = BODY_EXAMPLES.get(_schema(content))
    if shown is not None:
        for place, show in zip((content, _json_answer(operation)), shown, strict=True):
            values = ((example.model, show(example)) for example in known)
            place["examples"] = {name: {"value": value} for name, value in values if value}
    if (table := _body(operation, "text/csv")) is not None:
        texts = {example.model: example.csv for example in known}
        table["examples"] = {name: {"value": text} for name, text in texts.items() if text}


def _described(
    repository: ModelRepository, known: Sequence[Example]
) -> Iterator[tuple[str, Document]]:
    """Yield the metadata of each model as an example."""
    for example in known:
        with suppress(NotFound, NotReady):  # unloaded in the meantime: this runs in a thread
            version = repository.version(example.model, int(example.version))
            yield example.model, {"value": describe(repository, version).model_dump()}


def _schema(content: Document) -> str:
    """Return the name of the schema of a body or an answer; "" if it has none."""
    name: str = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
    return name


def _json_answer(operation: Document) -> Document:
    """Return the description of an operation's JSON answer; empty if it has none."""
    content = operation.get("responses", {}).get("200", {}).get("content", {})
    found: Document = content.get("application/json", {})
    return found


def _json_body(operation: Document) -> Document:
    """Return the description of an operation's JSON body; empty if it has none."""
    return _body(operation, "application/json") or {}


def _body(operation: Document, media_type: str) -> Document | None:
    found: Document | None = operation.get("requestBody", {}).get("content", {}).get(media_type)
    return found
