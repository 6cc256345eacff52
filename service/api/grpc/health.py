"""gRPC's own health protocol: the server is SERVING when it is ready over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from grpc import StatusCode

from service.api.grpc.control import Asked, ControlPlane
from service.api.grpc.messages import message

SERVICES = ("", "inference.GRPCInferenceService")
"""Both names stand for the server as a whole."""
LOOK_SECONDS = 0.5
SERVING, NOT_SERVING, UNKNOWN = 1, 2, 3


class Health:
    """Answers Check and Watch."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control

    async def check(self, request: Any, context: Any) -> Any:
        """Return the current status."""
        if request.service not in SERVICES:
            await context.abort(StatusCode.NOT_FOUND, f'no service "{request.service:.80}"')
        return _response(await self._status(context))

    async def watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Yield the current status, and again each time it changes."""
        last = 0
        while True:
            known = request.service in SERVICES
            status = await self._status(context) if known else UNKNOWN
            if status != last:
                yield _response(status)
            last = status
            await asyncio.sleep(LOOK_SECONDS)

    async def _status(self, context: Any) -> int:
        said = await self._control.ask(Asked("GET", "/v2/health/ready"), context)
        return SERVING if said.status == 200 else NOT_SERVING


def _response(status: int) -> Any:
    return message("grpc.health.v1.HealthCheckResponse")(status=status)
