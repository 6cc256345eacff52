"""Tools find services, files and messages by reflection, of both versions."""

from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

from service.api.grpc.messages import OLDER_REFLECTION, REFLECTION, message
from tests import repositories
from tests.api.grpc.calling import calling


async def ask(folder: Path, package: str, requests: list[dict[str, Any]]) -> list[Any]:
    repositories.put(folder, "m", 1, repositories.scale(2))
    kind = message(f"{package}.ServerReflectionRequest")
    async with calling(folder) as calls:
        call = calls.channel.stream_stream(
            f"/{package}.ServerReflection/ServerReflectionInfo",
            kind.SerializeToString,
            message(f"{package}.ServerReflectionResponse").FromString,
        )
        return [each async for each in call([kind(**request) for request in requests])]


@pytest.mark.parametrize("package", [REFLECTION, OLDER_REFLECTION])
async def test_a_tool_can_build_the_messages(tmp_path: Path, package: str) -> None:
    listed, symbol, file, unknown, numbers, extension = await ask(
        tmp_path,
        package,
        [
            {"list_services": ""},
            {"file_containing_symbol": "inference.GRPCInferenceService"},
            {"file_by_filename": "health.proto"},
            {"file_containing_symbol": "no.such.Thing"},
            {"all_extension_numbers_of_type": "inference.ModelConfig"},
            {"file_containing_extension": {"containing_type": "inference.ModelConfig"}},
        ],
    )
    names = {each.name for each in listed.list_services_response.service}
    assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= names
    pool = DescriptorPool()
    for found in symbol.file_descriptor_response.file_descriptor_proto:
        pool.Add(FileDescriptorProto.FromString(found))
    service = pool.FindServiceByName("inference.GRPCInferenceService")
    assert len(service.methods) == 20
    assert len(file.file_descriptor_response.file_descriptor_proto) == 1
    assert unknown.error_response.error_code == extension.error_response.error_code == 5
    assert numbers.all_extension_numbers_response.base_type_name == "inference.ModelConfig"
