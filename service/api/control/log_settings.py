"""Log settings in the format of Triton's logging extension. They can be changed while the server
runs. Each level includes the more severe levels, so that the settings are one choice: the level.

Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_logging.md
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict

from service.api.control.error_handlers import documented
from service.api.protocol.json_body import body_docs, json_object
from service.core.errors import MalformedRequest

OFF = logging.CRITICAL + 10
LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, OFF)
FIXED = ("log_file", "log_format")
REFUSED = documented(400, "A setting is unknown, or its value is not possible")


class LogSettings(BaseModel):
    """``log_verbose_level`` above 0 logs every request. ``log_file`` is empty for standard error.
    ``log_file`` and ``log_format`` cannot be changed while the server runs.
    """

    log_file: str = ""
    log_info: bool
    log_warning: bool
    log_error: bool
    log_verbose_level: int
    log_format: str = "default"


class LogChanges(BaseModel):
    """The settings to change; null restores the value that the server was started with."""

    model_config = ConfigDict(extra="forbid")

    log_info: bool | None = None
    log_warning: bool | None = None
    log_error: bool | None = None
    log_verbose_level: int | None = None
    log_file: Literal[""] | None = None
    log_format: Literal["default"] | None = None


SetLevel = Callable[[int], Awaitable[None]]
"""Sets the level of the logger, in all processes of the server."""


def log_settings(logger: logging.Logger) -> APIRouter:
    """Return the route for the settings of ``logger`` and of all loggers below it."""
    router = APIRouter(tags=["settings"])

    @router.get("/v2/logging", summary="Get the log settings")
    async def current() -> LogSettings:
        return _settings(logger.level)

    return router


def log_changes(logger: logging.Logger, set_level: SetLevel) -> APIRouter:
    """Return the route that changes the log settings."""
    router = APIRouter(tags=["settings"])
    at_start = _settings(logger.level)

    @router.post(
        "/v2/logging",
        summary="Change the log settings",
        responses=REFUSED,
        openapi_extra=body_docs(LogChanges, {"log_verbose_level": 0}),
    )
    async def change(request: Request) -> LogSettings:
        wanted = {
            name: getattr(at_start, name, None) if value is None else value
            for name, value in (await json_object(request)).items()
        }
        await set_level(_level(wanted, logger.level))
        return _settings(logger.level)

    return router


def _settings(level: int) -> LogSettings:
    return LogSettings(
        log_info=level <= logging.INFO,
        log_warning=level <= logging.WARNING,
        log_error=level <= logging.ERROR,
        log_verbose_level=int(level <= logging.DEBUG),
    )


def _level(wanted: dict[str, Any], level: int) -> int:
    """Return the level closest to the current level that has the requested settings."""
    known = _settings(level).model_dump()
    for name, value in wanted.items():
        if name not in known:
            raise MalformedRequest(
                f'"{name:.40}" is not a log setting; the log settings are {", ".join(known)}'
            )
        if type(value) is not type(known[name]):
            kind = {bool: "true or false", int: "an integer", str: "a string"}[type(known[name])]
            raise MalformedRequest(f'"{name}" must be {kind}, got {value!r:.40}')
        if name in FIXED and value != known[name]:
            raise MalformedRequest(
                f'"{name}" is {known[name]!r} and cannot be changed while the server runs'
            )
    if "log_verbose_level" in wanted:
        wanted = {**wanted, "log_verbose_level": min(1, max(0, wanted["log_verbose_level"]))}
    fitting = [each for each in LEVELS if wanted.items() <= _settings(each).model_dump().items()]
    if not fitting:
        order = "log_verbose_level, log_info, log_warning, log_error"
        raise MalformedRequest(
            f"each of {order} includes the settings after it; the requested values contradict this"
        )
    return min(fitting, key=lambda each: abs(each - level))
