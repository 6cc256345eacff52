"""The messages and services of the .proto files in this package. They have their own descriptor
pool, because another package, such as a client, may use the same names in protobuf's default pool.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from service.api.grpc.proto_text import read_proto

Message = Any
"""A message of protobuf, whose class is created at runtime."""
FOLDER = Path(__file__).parent / "proto"
REFLECTION, OLDER_REFLECTION = "grpc.reflection.v1", "grpc.reflection.v1alpha"


@lru_cache(maxsize=1)
def files() -> tuple[FileDescriptorProto, ...]:
    """Return all files, each after the files that it imports."""
    names = ("model_config.proto", "inference.proto", "health.proto", "reflection.proto")
    texts = {name: (FOLDER / name).read_text(encoding="utf-8") for name in names}
    older = texts["reflection.proto"].replace(
        f"package {REFLECTION};", f"package {OLDER_REFLECTION};"
    )
    return tuple(read_proto(*each) for each in {**texts, "reflection_v1alpha.proto": older}.items())


@lru_cache(maxsize=1)
def pool() -> DescriptorPool:
    """Return the pool with all files."""
    made = DescriptorPool()
    for file in files():
        made.Add(file)
    return made


@lru_cache(maxsize=256)
def message(name: str) -> Any:
    """Return the class of a message by its full name."""
    return GetMessageClass(pool().FindMessageTypeByName(name))
