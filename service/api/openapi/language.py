"""Routes of language models in the document: with the models that are there, or not at all."""

from collections.abc import Sequence
from typing import Any

from service.core.lifecycle import State
from service.engine.repository.repository import ModelRepository

TAGS = frozenset({"OpenAI", "generate"})
Document = dict[str, Any]


def language_models(repository: ModelRepository) -> list[tuple[str, str]]:
    """Name and version of each language model that serves."""
    serving = (model.serving for model in repository)
    found = (each for each in serving if each is not None and each.state is State.READY)
    return [(each.model, str(each.number)) for each in found if each.language]


def fit(document: Document, models: Sequence[tuple[str, str]]) -> None:
    """Name models that are there in the examples; without any, such routes are left out."""
    paths = document["paths"]
    for path, operations in list(paths.items()):
        for operation in operations.values():
            if TAGS.isdisjoint(operation.get("tags", ())):
                continue
            if not models:
                del paths[path]
                break
            _name(operation, models)


def _name(operation: Document, models: Sequence[tuple[str, str]]) -> None:
    places = {"name": 0, "version": 1}
    for parameter in operation.get("parameters", []):
        place = places[parameter["name"]]
        parameter["examples"] = {each[0]: {"value": each[place]} for each in models}
    content = operation["requestBody"]["content"]["application/json"]
    example = content.pop("example")
    shown = ({**example, "model": name} if "model" in example else example for name, _ in models)
    content["examples"] = {
        name: {"value": each} for (name, _), each in zip(models, shown, strict=True)
    }
