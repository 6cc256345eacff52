"""The model for a request that names none: the only one with the task of the route."""

from collections.abc import Iterable

from service.core.errors import BadArgument, NotReady
from service.core.texts import Task
from service.engine.repository.repository import ModelRepository
from service.engine.repository.version import ModelVersion


def with_task(repository: ModelRepository, task: Task) -> list[ModelVersion]:
    """Return the serving versions with a task that are ready."""
    return [
        version
        for version in repository.serving
        if version.loaded and version.loaded.text and version.loaded.text.settings.task is task
    ]


def only_model(task: Task, names: Iterable[str]) -> str:
    """Return the only one of the ready models with a task.

    Raises:
        BadArgument: several models have the task.
        NotReady: no model with the task is ready.
    """
    found = sorted(names)
    if not found:
        raise NotReady(f"no model with the task {task} is ready")
    if len(found) > 1:
        listed = ", ".join(f'"{name}"' for name in found)
        raise BadArgument(f'name one of the models {listed} as "model"', "model")
    return found[0]
