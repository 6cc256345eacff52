"""Finds the models and versions of the names in a path. A version is a string here: a version that
is not a number is not found, like a version that does not exist."""

from typing import Annotated

from fastapi import Path

from service.api.control.error_handlers import documented
from service.core.errors import NotFound
from service.core.names import VERSION
from service.engine.repository.repository import ModelRepository
from service.engine.repository.version import ModelVersion

ModelName = Annotated[str, Path(description="Name of a model")]
VersionNumber = Annotated[str, Path(description="Number of a version of the model")]
NOT_FOUND = documented(404, "No such model or version; the error lists the existing ones")
NOT_READY = documented(503, "Not ready; the error has the reason")


def find_version(repository: ModelRepository, name: str, number: str | None) -> ModelVersion:
    """Return the version with this number; the serving version if ``number`` is None.

    Raises:
        NotFound: the model or version does not exist; the message lists the existing ones.
        NotReady: the model as a whole is not usable.
    """
    model = repository.model(name)
    if number is None or VERSION.fullmatch(number):
        return model.version(None if number is None else int(number))
    has = ", ".join(map(str, sorted(model.versions))) or "none"
    raise NotFound(f'model "{name}" version "{number:.40}" is not a number (loaded: {has})')
