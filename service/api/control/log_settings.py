"""Log settings, read and changed while the server runs, in the form of Triton's logging extension.
Each level includes those above it, so that the five settings are one choice: the level.

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
REFUSED = documented(400, "A setting that is unknown or cannot be had")


class LogSettings(BaseModel):
    """``log_verbose_level`` above 0 logs every request. ``log_file`` is empty for standard error;
    it and ``log_format`` cannot be changed while the server runs.
    """

    log_file: str = ""
    log_info: bool
    log_warning: bool
    log_error: bool
    log_verbose_level: int
    log_format: str = "default"


class LogChanges(BaseModel):
    """The settings to change; a null goes back to what the server was started with."""

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
    """The route for the settings of ``logger`` and of all loggers below it."""
    router = APIRouter(tags=["settings"])

    @router.get("/v2/logging", summary="What is logged?")
    async def current() -> LogSettings:
        return _settings(logger.level)

    return router


def log_changes(logger: logging.Logger, set_level: SetLevel) -> APIRouter:
    """The route that changes it."""
    router = APIRouter(tags=["settings"])
    at_start = _settings(logger.level)

    @router.post(
        "/v2/logging",
        summary="Log more or less",
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
    """The level closest to the one there is at which the settings are as wanted."""
    known = _settings(level).model_dump()
    for name, value in wanted.items():
        if name not in known:
            raise MalformedRequest(f'"{name:.40}" is no log setting; there are {", ".join(known)}')
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
        raise MalformedRequest(f"each of {order} includes those after it; they contradict here")
    return min(fitting, key=lambda each: abs(each - level))
