"""The V1 protocol's routes for the status of models. Predictions are in the data plane."""

from typing import Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from service.api.control.error_handlers import documented
from service.api.control.lookup import NOT_FOUND, ModelName, VersionNumber, find_version
from service.core.lifecycle import State
from service.engine.repository.repository import ModelRepository
from service.engine.repository.version import ModelVersion

# The protocol's names for the states of a version.
STATES = {
    State.LOADING: "LOADING",
    State.READY: "AVAILABLE",
    State.UNLOADING: "UNLOADING",
    State.UNAVAILABLE: "END",
}


class OpenAIModel(BaseModel):
    """A language model in the format of OpenAI's API. ``created`` is the time at which it was
    loaded, in seconds since the epoch."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "quantserve"


class ModelNames(BaseModel):
    """The names of all models, and the serving language models in the format of OpenAI's API."""

    models: list[str]
    object: Literal["list"] = "list"
    data: list[OpenAIModel] = []


class StatusText(BaseModel):
    """OK, or the reason why the version is not available."""

    error_code: str
    error_message: str


class VersionStatus(BaseModel):
    """A version's state: LOADING, AVAILABLE, UNLOADING or END."""

    version: str
    state: str
    status: StatusText


class ModelStatus(BaseModel):
    """``ready`` is true if the model can serve requests. The list has the state of its versions.
    The fields from ``id`` to ``owned_by`` are those of OpenAI's API."""

    name: str
    ready: bool
    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "quantserve"
    model_version_status: list[VersionStatus]
    error: str | None = None


UNREADY = NOT_FOUND | documented(503, "Not ready; the error has the reason", ModelStatus)


def v1_status(repository: ModelRepository) -> APIRouter:
    """Return the V1 routes for the status of models."""
    router = APIRouter(tags=["V1"])

    @router.get("/v1/models", summary="List all models")
    async def names() -> ModelNames:
        served = [each for each in repository if each.serving and each.serving.language]
        return ModelNames(
            models=[model.name for model in repository],
            data=[OpenAIModel(id=each.name, created=_created(each.serving)) for each in served],
        )

    @router.get(
        "/v1/models/{name}",
        summary="Get the status of a model",
        response_model=ModelStatus,
        responses=UNREADY,
    )
    async def status(name: ModelName) -> JSONResponse:
        model = repository.model(name)
        versions = [version for _, version in sorted(model.versions.items())]
        return _answer(name, model.serving, versions, model.reason)

    @router.get(
        "/v1/models/{name}/versions/{version}",
        summary="Get the status of a version",
        response_model=ModelStatus,
        responses=UNREADY,
    )
    async def version_status(name: ModelName, version: VersionNumber) -> JSONResponse:
        found = find_version(repository, name, version)
        return _answer(name, found, [found], found.reason)

    return router


def _answer(
    name: str, asked: ModelVersion | None, versions: list[ModelVersion], reason: str
) -> JSONResponse:
    ready = asked is not None and asked.state is State.READY
    status = ModelStatus(
        name=name,
        ready=ready,
        id=name,
        created=_created(asked),
        model_version_status=[_of_version(each) for each in versions],
    )
    if not ready:
        why = (asked.reason or f"it is {asked.state}") if asked else reason
        status.error = f'model "{name}" does not serve: {why}'
    return JSONResponse(status.model_dump(exclude_none=True), 200 if ready else 503)


def _created(version: ModelVersion | None) -> int:
    return int(version.since) if version else 0


def _of_version(version: ModelVersion) -> VersionStatus:
    return VersionStatus(
        version=str(version.number),
        state=STATES[version.state],
        status=StatusText(
            error_code="UNKNOWN" if version.reason else "OK", error_message=version.reason
        ),
    )
