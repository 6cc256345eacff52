"""Rules for all answers of the control plane: every error is {"error": "..."}, routes with GET also
answer HEAD, OPTIONS lists the allowed methods, and exceptions never leave the server."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.auth.middleware import Requirement, request_id_of
from service.api.protocol import openai_errors
from service.api.protocol.errors import status_of
from service.api.transport.refusal import turned_away
from service.config.values import first_problem
from service.core.errors import Forbidden, QuantserveError, Unauthenticated

_log = logging.getLogger(__name__)
Answer = Callable[[Request, Any], Awaitable[Response]]
OPENAI_PATHS = frozenset({"/v1/chat/completions", "/v1/completions"})
"""Paths whose errors have the format of OpenAI's API."""
NO_PATH = "/(a path that ends in a newline)"


class Error(BaseModel):
    """The body of every answer with a status other than 2xx."""

    error: str


Responses = dict[int | str, dict[str, Any]]
"""The description of a route's answers in the OpenAPI document, by status."""


def documented(status: int | str, text: str, model: type[BaseModel] = Error) -> Responses:
    """Return the description of an answer for the OpenAPI document."""
    return {status: {"model": model, "description": text}}


ANY_ERROR = documented("default", "Any other error")


class Guarded(NamedTuple):
    """A router, and the key that all of its routes need."""

    requirement: Requirement
    router: APIRouter


class Edge:
    """An ASGI application that applies the rules above to a FastAPI application."""

    def __init__(self, app: FastAPI, guarded: Sequence[Guarded]) -> None:
        """Include the routers in the application, in this order: the first match answers."""
        self._app = app
        routers = [router for _, router in guarded]
        for requirement, router in guarded:
            needs = [Depends(requirement)]
            app.include_router(router, dependencies=needs, responses=ANY_ERROR)
        app.add_exception_handler(QuantserveError, _ours)
        app.add_exception_handler(HTTPException, _of_starlette(routers))
        app.add_exception_handler(RequestValidationError, _of_fastapi)
        app.add_exception_handler(Exception, _unforeseen)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope, send = _prepared(scope, send)
        try:
            await self._app(scope, receive, send)
        except ClientDisconnect:
            pass
        except Exception as error:
            # The client got status 500. One line is enough to find the error; the traceback is for
            # debugging.
            where = scope.get("path", scope["type"])
            _log.error("%s failed: %s: %s", where, type(error).__name__, error)
            _log.debug("%s failed", where, exc_info=True)


async def rehearse(app: ASGIApp, path: str) -> None:
    """Request a path and discard the answer. The first request builds objects that later requests
    reuse. That takes tens of milliseconds, which no client has to wait for."""

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_: Message) -> None:
        pass

    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}
    await app(scope, receive, send)


def _prepared(scope: Scope, send: Send) -> tuple[Scope, Send]:
    """Handle HEAD as GET without the body, and add the id of a change to its answer's headers."""
    scope = {**scope, "state": {**scope.get("state", {})}}
    if scope["path"].endswith("\n"):
        # Starlette's patterns end in "$", which also matches before a final newline.
        scope["path"] = NO_PATH
    if scope["method"] == "HEAD":
        scope["method"], send = "GET", _without_body(send)
    return scope, _with_id(send, scope)


def _with_id(send: Send, scope: Scope) -> Send:
    async def send_with_id(message: Message) -> None:
        request_id = request_id_of(scope)
        if request_id and message["type"] == "http.response.start":
            pair = (b"x-request-id", request_id.encode())
            message = {**message, "headers": [*message.get("headers", ()), pair]}
        await send(message)

    return send_with_id


def _without_body(send: Send) -> Send:
    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return send_head


async def _ours(request: Request, error: Exception) -> Response:
    if isinstance(error, Unauthenticated | Forbidden):
        theirs = openai_errors.body(error) if request.url.path in OPENAI_PATHS else None
        return turned_away(error, request.headers, theirs)
    return JSONResponse({"error": str(error)}, status_of(error))


async def _of_fastapi(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problem = first_problem(error.errors())
    return JSONResponse({"error": f"{problem.key}: {problem.message}"}, 422)


async def _unforeseen(_: Request, __: Exception) -> Response:
    return JSONResponse({"error": "internal error"}, 500)


def _of_starlette(routers: Sequence[APIRouter]) -> Answer:
    async def answer(request: Request, error: HTTPException) -> Response:
        path = request.url.path
        what = f"{request.method} {path:.200}"
        if error.status_code == 404:
            text = f"there is no route for {what}; /docs lists all routes"
            return JSONResponse({"error": text}, 404)
        if error.status_code != 405:
            return JSONResponse({"error": f"{what}: {error.detail}"}, error.status_code)
        allowed = _allowed(routers, path)
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"allow": ", ".join(allowed)})
        wanted = " or ".join(method for method in allowed if method in ("GET", "POST"))
        text = f"{what} is not allowed, expected {wanted}"
        return JSONResponse({"error": text}, 405, {"allow": ", ".join(allowed)})

    return answer


def _allowed(routers: Sequence[APIRouter], path: str) -> list[str]:
    """Return the methods that are allowed at a path."""
    routes: list[Any] = [route for router in routers for route in router.routes]
    found = {m for route in routes if route.path_regex.match(path) for m in route.methods}
    return sorted(found | {"OPTIONS"} | ({"HEAD"} if "GET" in found else set()))
