"""Resolves the names in a path. A version is text here: one that is not a number is not found, like
one that does not exist."""

from typing import Annotated

from fastapi import Path

from service.api.control.error_handlers import documented
from service.core.errors import NotFound
from service.core.names import VERSION
from service.engine.repository.repository import ModelRepository
from service.engine.repository.version import ModelVersion

ModelName = Annotated[str, Path(description="Name of a model")]
VersionNumber = Annotated[str, Path(description="Number of a version of the model")]
NOT_FOUND = documented(404, "No such model or version; names those there are")
NOT_READY = documented(503, "It does not serve now; says why")


def find_version(repository: ModelRepository, name: str, number: str | None) -> ModelVersion:
    """The version with this number; the serving one where there is none.

    Raises:
        NotFound: there is no such model or version; with what there is.
        NotReady: the model as a whole is not usable.
    """
    model = repository.model(name)
    if number is None or VERSION.fullmatch(number):
        return model.version(None if number is None else int(number))
    has = ", ".join(map(str, sorted(model.versions))) or "none"
    raise NotFound(f'model "{name}" version "{number:.40}" is not a number (loaded: {has})')
