"""Trace settings in the format of Triton's trace extension. No trace files are written, and the
settings say so. ``--tracing`` sends OpenTelemetry traces, which these settings do not affect.

Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_trace.md
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from service.api.control.error_handlers import documented
from service.api.control.lookup import NOT_FOUND, ModelName
from service.api.protocol.json_body import body_docs, json_object
from service.core.errors import MalformedRequest
from service.engine.repository.repository import ModelRepository

Off = Literal["OFF"]
REFUSED = documented(400, "Tracing cannot be turned on")


class TraceSettings(BaseModel):
    """Tracing to files is off, and its settings cannot be changed."""

    trace_level: list[str] = ["OFF"]
    trace_rate: str = "0"
    trace_count: str = "0"
    log_frequency: str = "0"
    trace_file: str = ""


class TraceChanges(BaseModel):
    """The changes that are accepted: none. null requests the default."""

    model_config = ConfigDict(extra="forbid")

    trace_level: Annotated[list[Off], Field(min_length=1, max_length=1)] | Off | None = None
    trace_rate: Literal["0"] | None = None
    trace_count: Literal["0"] | None = None
    log_frequency: Literal["0"] | None = None
    trace_file: Literal[""] | None = None


SETTINGS = TraceSettings()


def trace_settings(repository: ModelRepository) -> APIRouter:
    """Return the routes for the trace settings."""
    router = APIRouter(tags=["settings"])

    @router.get("/v2/trace/setting", summary="Get the trace settings")
    async def current() -> TraceSettings:
        return SETTINGS

    @router.get(
        "/v2/models/{name}/trace/setting",
        summary="Get the trace settings of a model",
        responses=NOT_FOUND,
    )
    async def of_model(name: ModelName) -> TraceSettings:
        repository.model(name)
        return SETTINGS

    return router


def trace_changes(repository: ModelRepository) -> APIRouter:
    """Return the routes that accept the current settings and refuse any change."""
    router = APIRouter(tags=["settings"])
    body = body_docs(TraceChanges, {"trace_level": ["OFF"]})

    @router.post(
        "/v2/trace/setting",
        summary="Change the trace settings: only the current values are accepted",
        responses=REFUSED,
        openapi_extra=body,
    )
    async def change(request: Request) -> TraceSettings:
        return _accept(await json_object(request))

    @router.post(
        "/v2/models/{name}/trace/setting",
        summary="Change the trace settings of a model: only the current values are accepted",
        responses=REFUSED | NOT_FOUND,
        openapi_extra=body,
    )
    async def change_of_model(request: Request, name: ModelName) -> TraceSettings:
        repository.model(name)
        return _accept(await json_object(request))

    return router


def _accept(wanted: dict[str, Any]) -> TraceSettings:
    """Check that the requested settings are the current settings, and return them. null requests
    the default."""
    known = SETTINGS.model_dump()
    for name, value in wanted.items():
        if name not in known:
            raise MalformedRequest(
                f'"{name:.40}" is not a trace setting; the trace settings are {", ".join(known)}'
            )
        if value is not None and value not in (known[name], _one(known[name])):
            raise MalformedRequest(
                f'"{name}" is {known[name]!r} and cannot be changed: the server does not trace'
            )
    return SETTINGS


def _one(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value
