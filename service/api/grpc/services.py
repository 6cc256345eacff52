"""The services of the server, and the handler of each call."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import grpc

from service.api.grpc.control import ControlPlane
from service.api.grpc.health import Health
from service.api.grpc.infer import ModelInfer
from service.api.grpc.messages import OLDER_REFLECTION, REFLECTION, message
from service.api.grpc.reflection import reflection
from service.api.grpc.rpcs import READY, RPCS, Asks, Rpc
from service.api.grpc.statuses import code_of
from service.api.grpc.stream import ModelStreamInfer
from service.api.protocol.errors import status_of
from service.core.errors import QuantserveError
from service.core.sizes import HERE_BYTES

INFERENCE, HEALTH = "inference.GRPCInferenceService", "grpc.health.v1.Health"
Handlers = Mapping[str, Any]


def services(
    control: ControlPlane, infer: ModelInfer, stream: ModelStreamInfer
) -> dict[str, Handlers]:
    """Return the handlers of each service's calls, by name."""
    health = Health(control)
    return {
        INFERENCE: {
            # Without serializers: these handlers read and return bytes.
            "ModelInfer": grpc.unary_unary_rpc_method_handler(infer.answer),
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(stream.answer),
            **{name: _unary(name, _told(control, name, rpc)) for name, rpc in RPCS.items()},
            **{name: _unary(name, _asked(control, name, ask)) for name, ask in READY.items()},
        },
    } | _own(health)


def _own(health: Health) -> dict[str, Handlers]:
    """Return the handlers of gRPC's own services."""
    request = message("grpc.health.v1.HealthCheckRequest").FromString
    found: dict[str, Handlers] = {
        HEALTH: {
            "Check": grpc.unary_unary_rpc_method_handler(health.check, request, _serialized),
            "Watch": grpc.unary_stream_rpc_method_handler(health.watch, request, _serialized),
        }
    }
    for package in (REFLECTION, OLDER_REFLECTION):
        found[f"{package}.ServerReflection"] = {
            "ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(
                reflection(package),
                message(f"{package}.ServerReflectionRequest").FromString,
                _serialized,
            )
        }
    return found


def _unary(name: str, answer: Callable[[Any, Any], Any]) -> Any:
    request = message(f"inference.{name}Request").FromString
    return grpc.unary_unary_rpc_method_handler(answer, request, _serialized)


def _serialized(made: Any) -> bytes:
    found: bytes = made.SerializeToString()
    return found


def _told(control: ControlPlane, name: str, rpc: Rpc) -> Callable[[Any, Any], Any]:
    async def answer(request: Any, context: Any) -> Any:
        try:
            # A request with uploaded files is long.
            here = request.ByteSize() <= HERE_BYTES
            asked = rpc.ask(request) if here else await asyncio.to_thread(rpc.ask, request)
        except QuantserveError as error:
            await context.abort(code_of(status_of(error)), str(error))
            raise
        return await control.answer(asked, context, f"{name}Response", rpc.form, rpc.codes)

    return answer


def _asked(control: ControlPlane, name: str, ask: Asks) -> Callable[[Any, Any], Any]:
    field = "live" if name == "ServerLive" else "ready"

    async def answer(request: Any, context: Any) -> Any:
        try:
            said = await control.ask(ask(request), context)
        except QuantserveError:  # no model can have such a name
            return message(f"inference.{name}Response")()
        return message(f"inference.{name}Response")(**{field: said.status == 200})

    return answer
