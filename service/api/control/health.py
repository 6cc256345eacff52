"""Health: live as soon as the process answers, ready once every model that can be is warm and at
least one is, unless the server may be empty.

Clients and load balancers look at the status alone; the body is for people.
"""

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from service.api.control.error_handlers import documented
from service.api.control.lookup import NOT_FOUND, ModelName, VersionNumber, find_version
from service.api.protocol.errors import status_of
from service.core.errors import NotReady
from service.engine.repository.readiness import why_not_ready
from service.engine.repository.repository import ModelRepository


class Live(BaseModel):
    """The process answers."""

    live: bool


class Ready(BaseModel):
    """Whether requests can be served; ``error`` is the reason if not."""

    ready: bool
    error: str | None = None


class ModelReady(Ready):
    """Whether a model serves; ``error`` is the reason if not."""

    name: str


UNREADY = documented(503, "Not ready, and why", Ready)
MODEL_UNREADY = NOT_FOUND | documented(503, "Not ready, and why", ModelReady)


def health(repository: ModelRepository) -> APIRouter:
    """Routes about being live and ready."""
    router = APIRouter(tags=["health"])

    @router.get("/v2/health/live", summary="Does the process answer?")
    async def live() -> Live:
        return Live(live=True)

    @router.get(
        "/v2/health/ready",
        summary="Is every model that can be loaded and warm?",
        response_model=Ready,
        responses=UNREADY,
    )
    async def ready() -> JSONResponse:
        if repository.ready:
            return JSONResponse({"ready": True})
        return JSONResponse({"ready": False, "error": why_not_ready(repository)}, 503)

    @router.get(
        "/v2/models/{name}/ready",
        summary="Does a model serve?",
        response_model=ModelReady,
        responses=MODEL_UNREADY,
    )
    async def model_ready(name: ModelName) -> JSONResponse:
        return _model_ready(repository, name, None)

    @router.get(
        "/v2/models/{name}/versions/{version}/ready",
        summary="Does a version of a model serve?",
        response_model=ModelReady,
        responses=MODEL_UNREADY,
    )
    async def version_ready(name: ModelName, version: VersionNumber) -> JSONResponse:
        return _model_ready(repository, name, version)

    return router


def _model_ready(repository: ModelRepository, name: str, version: str | None) -> JSONResponse:
    try:
        find_version(repository, name, version).serving()
    except NotReady as error:
        return JSONResponse({"name": name, "ready": False, "error": str(error)}, status_of(error))
    return JSONResponse({"name": name, "ready": True})
