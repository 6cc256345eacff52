"""Triton's shared memory extension, which this server does not have: clients are told so.

Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_shared_memory.md
"""

from typing import NoReturn

from fastapi import APIRouter

from service.api.protocol.unsupported import NO_SHARED_MEMORY
from service.core.errors import NotSupported

KINDS = ("system", "cuda")


def shared_memory() -> APIRouter:
    """Routes about shared memory regions; they are not part of the documentation."""
    router = APIRouter(include_in_schema=False)

    async def refuse() -> NoReturn:
        raise NotSupported(NO_SHARED_MEMORY)

    for kind in KINDS:
        path = f"/v2/{kind}sharedmemory"
        for each in (path, path + "/{rest:path}"):
            router.add_api_route(each, refuse, methods=["GET", "POST"], response_model=None)
    return router
