"""The messages and services of the .proto files in this package, in a pool of their own: another
package of the process, such as a client, may have the same names in protobuf's."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from service.api.grpc.proto_text import read_proto

Message = Any
"""Of protobuf, whose classes are made while the program runs."""
FOLDER = Path(__file__).parent / "proto"
REFLECTION, OLDER_REFLECTION = "grpc.reflection.v1", "grpc.reflection.v1alpha"


@lru_cache(maxsize=1)
def files() -> tuple[FileDescriptorProto, ...]:
    """All files, each after those that it imports."""
    names = ("model_config.proto", "inference.proto", "health.proto", "reflection.proto")
    texts = {name: (FOLDER / name).read_text(encoding="utf-8") for name in names}
    older = texts["reflection.proto"].replace(
        f"package {REFLECTION};", f"package {OLDER_REFLECTION};"
    )
    return tuple(read_proto(*each) for each in {**texts, "reflection_v1alpha.proto": older}.items())


@lru_cache(maxsize=1)
def pool() -> DescriptorPool:
    """All of them, linked."""
    made = DescriptorPool()
    for file in files():
        made.Add(file)
    return made


@lru_cache(maxsize=256)
def message(name: str) -> Any:
    """The class of a message, by its full name."""
    return GetMessageClass(pool().FindMessageTypeByName(name))
