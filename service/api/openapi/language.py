"""Routes of language models and of text models in the document. A route is shown only if a model
for it is serving, and its examples name such models.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from service.api.text.choosing import with_task
from service.core.texts import Task
from service.engine.repository.repository import ModelRepository

TAGS = frozenset({"OpenAI", "generate"})
Document = dict[str, Any]


def language_models(repository: ModelRepository) -> list[tuple[str, str]]:
    """Return the name and version of each serving language model."""
    return [(each.model, str(each.number)) for each in repository.serving if each.language]


def text_models(repository: ModelRepository, task: Task) -> list[tuple[str, str]]:
    """Return the name and version of each serving text model with this task."""
    return [(each.model, str(each.number)) for each in with_task(repository, task)]


def fit(document: Document, tags: AbstractSet[str], models: Sequence[tuple[str, str]]) -> None:
    """Put the names of the models into the examples of all routes with one of the tags. If there
    are no models, remove these routes."""
    paths = document["paths"]
    for path, operations in list(paths.items()):
        for operation in operations.values():
            if tags.isdisjoint(operation.get("tags", ())):
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
