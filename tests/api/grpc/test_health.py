"""The server's health over gRPC's standard health protocol."""

from pathlib import Path

import pytest
from grpc import StatusCode, aio

from service.api.grpc.health import NOT_SERVING, SERVING, UNKNOWN
from service.api.grpc.messages import message
from tests import repositories
from tests.api.grpc.calling import Calls, calling

PATH = "/grpc.health.v1.Health"
RESPONSE = message("grpc.health.v1.HealthCheckResponse").FromString


def asked(service: str) -> bytes:
    found: bytes = message("grpc.health.v1.HealthCheckRequest")(service=service).SerializeToString()
    return found


async def check(calls: Calls, service: str) -> int:
    answer = await calls.channel.unary_unary(f"{PATH}/Check", None, RESPONSE)(asked(service))
    return int(answer.status)


async def test_a_ready_server_is_serving(tmp_path: Path) -> None:
    repositories.put(tmp_path, "m", 1, repositories.scale(2))
    async with calling(tmp_path) as calls:
        assert await check(calls, "") == SERVING
        assert await check(calls, "inference.GRPCInferenceService") == SERVING
        with pytest.raises(aio.AioRpcError) as failed:
            await check(calls, "nothing")
        assert failed.value.code() is StatusCode.NOT_FOUND


async def test_a_watch_reports_each_change(tmp_path: Path) -> None:
    repositories.put(tmp_path, "m", 1, repositories.scale(2))
    async with calling(tmp_path) as calls:
        watch = calls.channel.unary_stream(f"{PATH}/Watch", None, RESPONSE)(asked(""))
        assert (await watch.read()).status == SERVING
        calls.served.server.begin_stop()
        assert (await watch.read()).status == NOT_SERVING
        unknown = calls.channel.unary_stream(f"{PATH}/Watch", None, RESPONSE)(asked("nothing"))
        assert (await unknown.read()).status == UNKNOWN
        watch.cancel()
        unknown.cancel()
