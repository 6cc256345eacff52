"""Health routes. The server is live as soon as the process answers. It is ready when every model
that can be loaded is warm, and when there is at least one, unless the server may be empty.

Clients and load balancers check the status only; the body is for people.
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
    """``ready`` is true if requests can be served; otherwise ``error`` is the reason."""

    ready: bool
    error: str | None = None


class ModelReady(Ready):
    """``ready`` is true if the model can serve requests; otherwise ``error`` is the reason."""

    name: str


UNREADY = documented(503, "Not ready, and why", Ready)
MODEL_UNREADY = NOT_FOUND | documented(503, "Not ready, and why", ModelReady)


def health(repository: ModelRepository) -> APIRouter:
    """Return the health routes."""
    router = APIRouter(tags=["health"])

    @router.get("/v2/health/live", summary="Check that the server is live")
    async def live() -> Live:
        return Live(live=True)

    @router.get(
        "/v2/health/ready",
        summary="Check that every usable model is loaded and warm",
        response_model=Ready,
        responses=UNREADY,
    )
    async def ready() -> JSONResponse:
        if repository.ready:
            return JSONResponse({"ready": True})
        return JSONResponse({"ready": False, "error": why_not_ready(repository)}, 503)

    @router.get(
        "/v2/models/{name}/ready",
        summary="Check that a model is ready",
        response_model=ModelReady,
        responses=MODEL_UNREADY,
    )
    async def model_ready(name: ModelName) -> JSONResponse:
        return _model_ready(repository, name, None)

    @router.get(
        "/v2/models/{name}/versions/{version}/ready",
        summary="Check that a version of a model is ready",
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
