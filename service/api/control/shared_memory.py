"""Triton's shared memory extension: regions of system shared memory, if the server has it enabled.
CUDA shared memory is refused with an error.

Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_shared_memory.md
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from fastapi import APIRouter, Request
from fastapi.responses import Response

from service.api.protocol.json_body import json_object
from service.api.protocol.unsupported import NO_SHARED_MEMORY
from service.core.errors import MalformedRequest, NotSupported

if TYPE_CHECKING:
    from service.engine.host.shared_memory import Regions

PATH = "/v2/systemsharedmemory"
REGISTER = ("key", "offset", "byte_size")
Change = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Registers a region in all processes of the server, or unregisters it; see ``Regions.apply``."""


def local(regions: "Regions | None") -> Change | None:
    """Return the function that changes the regions of a server with one process."""
    if regions is None:
        return None

    async def change(asked: Mapping[str, Any]) -> None:
        regions.apply(asked)

    return change


def shared_memory(regions: "Regions | None", change: Change | None = None) -> APIRouter:
    """Return the routes for shared memory regions. They are not in the OpenAPI document."""
    router = APIRouter(include_in_schema=False)
    if regions is not None and change is not None:
        _system(router, regions, change)

    async def refuse() -> NoReturn:
        raise NotSupported(NO_SHARED_MEMORY)

    for kind in ("cuda",) if regions is not None else ("system", "cuda"):
        path = f"/v2/{kind}sharedmemory"
        for each in (path, path + "/{rest:path}"):
            router.add_api_route(each, refuse, methods=["GET", "POST"], response_model=None)
    return router


def _system(router: APIRouter, regions: "Regions", change: Change) -> None:
    @router.get(PATH + "/status")
    async def status() -> list[dict[str, Any]]:
        return regions.status()

    @router.get(PATH + "/region/{name}/status")
    async def status_of(name: str) -> list[dict[str, Any]]:
        return regions.status(name)

    @router.post(PATH + "/region/{name}/register")
    async def register(name: str, request: Request) -> Response:
        given = await json_object(request)
        for field in given:
            if field not in REGISTER:
                known = ", ".join(REGISTER)
                raise MalformedRequest(f'"{field:.40}" is unknown, expected one of {known}')
        key, offset, size = given.get("key"), given.get("offset", 0), given.get("byte_size")
        if type(key) is not str:
            raise MalformedRequest(f'"key" must be a string, got {key!r:.40}')
        if type(offset) is not int or type(size) is not int:
            raise MalformedRequest(
                f'"offset" and "byte_size" must be integers, got {offset!r:.40}, {size!r:.40}'
            )
        regions.opened(name, key, offset, size)  # fails before others are told
        await change({"verb": "register", "name": name, "key": key, "offset": offset, "size": size})
        return Response()

    @router.post(PATH + "/unregister")
    async def unregister_all() -> Response:
        await change({"verb": "unregister", "name": ""})
        return Response()

    @router.post(PATH + "/region/{name}/unregister")
    async def unregister(name: str) -> Response:
        await change({"verb": "unregister", "name": name})
        return Response()
