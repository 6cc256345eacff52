"""The index of the model repository: all known versions with their state and its reason, and all
other entries of the folder, which are not served. Also the list of models, for people.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel

from service.api.control.error_handlers import documented
from service.api.protocol.json_body import body_docs, json_object
from service.core.errors import MalformedRequest, NotFound
from service.core.lifecycle import State
from service.engine.repository.model import Model
from service.engine.repository.repository import ModelRepository

RepositoryName = Annotated[str, Path(description="Name of the folder that is served")]
NO_REPOSITORY = documented(404, "The repository does not exist; there is only one")


class IndexRequest(BaseModel):
    """``ready`` selects versions that are READY. The body is optional."""

    ready: bool = False


class IndexEntry(BaseModel):
    """A version and its state. There is no ``version`` if the model as a whole is not usable. An
    entry of the folder that is not served has its path as ``name``, and the ``reason``."""

    name: str
    version: str | None = None
    state: State
    reason: str


class ListedVersion(BaseModel):
    """A version of a model, and its state. ``reason`` is the reason if it is not READY."""

    version: str
    state: State
    reason: str


class ListedModel(BaseModel):
    """A model. It is READY if a version answers requests that name no version. That version is
    ``serving``."""

    name: str
    state: State
    reason: str
    serving: str | None = None
    versions: list[ListedVersion]


class ModelList(BaseModel):
    """All models in the folder that is served."""

    models: list[ListedModel]


def index(repository: ModelRepository) -> APIRouter:
    """Return the routes that list the contents of the repository."""
    router = APIRouter(tags=["repository"])
    body = body_docs(IndexRequest, {"ready": True})

    @router.get("/v2/models/", include_in_schema=False)
    @router.get(
        "/v2/models",
        summary="List all models and their serving versions",
        response_model_exclude_none=True,
    )
    async def listing() -> ModelList:
        await repository.refresh()
        return ModelList(models=[_listed(model) for model in repository])

    @router.post(
        "/v2/repository/index",
        summary="List all models and their states",
        response_model_exclude_none=True,
        openapi_extra=body,
    )
    async def whole(request: Request) -> list[IndexEntry]:
        return await _entries(repository, await json_object(request))

    @router.post(
        "/v2/repository/{repository_name}/index",
        summary="List all models in a repository and their states",
        response_model_exclude_none=True,
        responses=NO_REPOSITORY,
        openapi_extra=body,
    )
    async def named(request: Request, repository_name: RepositoryName) -> list[IndexEntry]:
        known = repository.folder.resolve().name
        if repository_name != known:
            raise NotFound(f'there is no repository "{repository_name:.80}", only "{known}"')
        return await _entries(repository, await json_object(request))

    return router


async def _entries(repository: ModelRepository, asked: dict[str, Any]) -> list[IndexEntry]:
    only_ready = asked.get("ready", False)
    if type(only_ready) is not bool:
        raise MalformedRequest(f'"ready" must be true or false, got {only_ready!r:.40}')
    await repository.refresh()
    entries = [entry for model in repository for entry in _of_model(model)]
    entries += [
        IndexEntry(name=each.path, state=State.UNAVAILABLE, reason=each.reason)
        for each in repository.passed_over
    ]
    return [entry for entry in entries if entry.state is State.READY or not only_ready]


def _of_model(model: Model) -> list[IndexEntry]:
    return [
        IndexEntry(
            name=model.name,
            version=str(status.number) if status.number else None,
            state=status.state,
            reason=status.reason,
        )
        for status in model.status()
    ]


def _listed(model: Model) -> ListedModel:
    versions = [
        ListedVersion(version=str(status.number), state=status.state, reason=status.reason)
        for status in model.status()
        if status.number
    ]
    ready = model.serving is not None and model.serving.state is State.READY
    loading = any([version.state is State.LOADING for version in versions])
    waiting = State.LOADING if loading else State.UNAVAILABLE
    return ListedModel(
        name=model.name,
        state=State.READY if ready else waiting,
        reason="" if ready else model.reason,
        serving=str(model.serving.number) if ready and model.serving else None,
        versions=versions,
    )
