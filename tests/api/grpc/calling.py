"""A server in this process, called over gRPC with the messages of Triton's client."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.json_format import MessageToDict, ParseDict
from grpc import aio
from tritonclient.grpc import service_pb2 as theirs

from tests.inprocess import KEY, Served, serve

ANY_SIZE = (("grpc.max_receive_message_length", -1),)
"""The size limit of answers, as in Triton's client."""
SERVICE = "/inference.GRPCInferenceService"
ADMIN = (("x-api-key", KEY),)


@dataclass(frozen=True, slots=True)
class Calls:
    """The server, and a channel to it."""

    served: Served
    channel: aio.Channel

    async def ask(
        self, name: str, request: dict[str, Any] | None = None, **more: Any
    ) -> dict[str, Any]:
        """Call a method by name with a message as JSON, and return the answer as JSON.

        Raises:
            AioRpcError: the call failed.
        """
        message = ParseDict(request or {}, getattr(theirs, f"{name}Request")())
        answer = await self.send(name, message.SerializeToString(), **more)
        found = getattr(theirs, f"{name}Response").FromString(answer)
        return MessageToDict(found, preserving_proto_field_name=True)

    async def send(self, name: str, message: bytes, **more: Any) -> bytes:
        """Call with bytes.

        Raises:
            AioRpcError: the call failed.
        """
        answer: bytes = await self.channel.unary_unary(f"{SERVICE}/{name}")(message, **more)
        return answer


@asynccontextmanager
async def calling(folder: Path, **settings: Any) -> AsyncIterator[Calls]:
    """Serve a folder for as long as the context lasts."""
    async with serve(folder, grpc_port=0, **settings) as served:
        await served.server.open_grpc()
        try:
            address = f"127.0.0.1:{served.server.grpc_port}"
            async with aio.insecure_channel(address, ANY_SIZE) as channel:
                yield Calls(served, channel)
        finally:
            await served.server.stop_grpc()


def infer_request(
    model: str, arrays: Sequence[tuple[str, str, np.ndarray]], **fields: Any
) -> theirs.ModelInferRequest:
    """A request with raw contents."""
    request = theirs.ModelInferRequest(model_name=model, **fields)
    for name, datatype, array in arrays:
        request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    return request
