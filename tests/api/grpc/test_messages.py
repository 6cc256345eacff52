"""The messages are those of Triton's client, field by field: they can be told apart by nothing."""

from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from tritonclient.grpc import model_config_pb2, service_pb2

from service.api.grpc.messages import OLDER_REFLECTION, files, message, pool


def file_of(module: Any) -> FileDescriptorProto:
    found = FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(found)
    return found


def ours(name: str) -> FileDescriptorProto:
    found = FileDescriptorProto()
    pool().FindFileByName(name).CopyToProto(found)
    return found


def fields(found: DescriptorProto) -> dict[str, tuple[Any, ...]]:
    """By the path of each: number, type, label."""
    own = {each.name: (each.number, each.type, each.label, each.type_name) for each in found.field}
    for nested in found.nested_type:
        own |= {f"{nested.name}.{name}": field for name, field in fields(nested).items()}
    return own


def test_every_message_of_inference_has_the_fields_of_triton() -> None:
    theirs = {each.name: fields(each) for each in file_of(service_pb2).message_type}
    assert {each.name: fields(each) for each in ours("inference.proto").message_type} == theirs


def test_every_call_of_triton_is_there() -> None:
    theirs, mine = (
        {
            (m.name, m.input_type, m.output_type, m.client_streaming, m.server_streaming)
            for m in each.method
        }
        for each in (*file_of(service_pb2).service, *ours("inference.proto").service)
    )
    assert mine == theirs


def test_what_is_told_of_a_configuration_has_the_numbers_of_triton() -> None:
    theirs = {each.name: fields(each) for each in file_of(model_config_pb2).message_type}
    for mine in ours("model_config.proto").message_type:
        assert fields(mine).items() <= theirs[mine.name].items()
    [types] = ours("model_config.proto").enum_type
    assert types == next(e for e in file_of(model_config_pb2).enum_type if e.name == types.name)


def test_the_classes_write_what_those_of_triton_read() -> None:
    made = message("inference.ModelReadyRequest")(name="digits", version="2")
    found = service_pb2.ModelReadyRequest.FromString(made.SerializeToString())
    assert (found.name, found.version) == ("digits", "2")


def test_the_older_reflection_has_the_same_messages() -> None:
    newer, older = (
        next(f for f in files() if f.package == package)
        for package in ("grpc.reflection.v1", OLDER_REFLECTION)
    )
    assert newer.message_type == older.message_type
    with pytest.raises(KeyError):
        message("grpc.reflection.v2.ServerReflectionRequest")
