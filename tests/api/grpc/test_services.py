"""All methods of the service are implemented; an unknown method is an error."""

from pathlib import Path

import pytest
from grpc import StatusCode, aio
from tritonclient.grpc import service_pb2 as theirs

from tests import repositories
from tests.api.grpc.calling import SERVICE, calling

METHODS = theirs.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods


async def test_every_method_answers_or_fails_with_a_known_error(tmp_path: Path) -> None:
    repositories.put(tmp_path, "m", 1, repositories.scale(2))
    async with calling(tmp_path) as calls:
        for method in METHODS:
            call = calls.channel.unary_unary(f"{SERVICE}/{method.name}")
            try:
                await call(b"", timeout=20)
            except aio.AioRpcError as error:
                assert "Method not found" not in (error.details() or "")
                assert error.code() is not StatusCode.UNKNOWN
        with pytest.raises(aio.AioRpcError) as failed:
            await calls.channel.unary_unary(f"{SERVICE}/Nothing")(b"")
        assert failed.value.code() is StatusCode.UNIMPLEMENTED
