"""The limit for gRPC: an empty unary call of grpc.aio, whose answer has the requested size.

No message is parsed or built, so no server in Python on grpc.aio can be faster.
"""

import argparse
import asyncio
from typing import Any

import grpc
import uvloop
from grpc import aio

SERVICE, METHOD = "inference.GRPCInferenceService", "ModelInfer"


async def serve(port: int, answer: bytes) -> None:
    async def echo(_: bytes, __: Any) -> bytes:
        return answer

    server = aio.server()
    handlers = {METHOD: grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--bytes", type=int, required=True, help="of an answer")
    given = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(given.port, bytes(given.bytes)))


if __name__ == "__main__":
    main()
