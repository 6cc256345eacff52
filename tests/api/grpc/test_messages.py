"""The messages are identical to those of Triton's client, field by field."""

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
    """Return number, type and label of each field, by its path."""
    own = {each.name: (each.number, each.type, each.label, each.type_name) for each in found.field}
    for nested in found.nested_type:
        own |= {f"{nested.name}.{name}": field for name, field in fields(nested).items()}
    return own


def test_every_inference_message_has_the_same_fields_as_in_triton() -> None:
    theirs = {each.name: fields(each) for each in file_of(service_pb2).message_type}
    assert {each.name: fields(each) for each in ours("inference.proto").message_type} == theirs


def test_every_method_of_triton_is_defined() -> None:
    theirs, mine = (
        {
            (m.name, m.input_type, m.output_type, m.client_streaming, m.server_streaming)
            for m in each.method
        }
        for each in (*file_of(service_pb2).service, *ours("inference.proto").service)
    )
    assert mine == theirs


def test_fields_of_a_configuration_have_the_same_numbers_as_in_triton() -> None:
    theirs = {each.name: fields(each) for each in file_of(model_config_pb2).message_type}
    for mine in ours("model_config.proto").message_type:
        assert fields(mine).items() <= theirs[mine.name].items()
    [types] = ours("model_config.proto").enum_type
    assert types == next(e for e in file_of(model_config_pb2).enum_type if e.name == types.name)


def test_triton_reads_the_messages_of_our_classes() -> None:
    made = message("inference.ModelReadyRequest")(name="digits", version="2")
    found = service_pb2.ModelReadyRequest.FromString(made.SerializeToString())
    assert (found.name, found.version) == ("digits", "2")


def test_both_versions_of_reflection_have_the_same_messages() -> None:
    newer, older = (
        next(f for f in files() if f.package == package)
        for package in ("grpc.reflection.v1", OLDER_REFLECTION)
    )
    assert newer.message_type == older.message_type
    with pytest.raises(KeyError):
        message("grpc.reflection.v2.ServerReflectionRequest")
