"""Triton's clients over HTTP and over gRPC, so that one test can ask by both."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

import tritonclient.grpc
import tritonclient.http

MODULES = {"http": tritonclient.http, "grpc": tritonclient.grpc}


class Client(NamedTuple):
    """A client by one of the two ways, and its module."""

    module: ModuleType
    client: Any
    json: bool

    def given(self, name: str, array: Any, datatype: str) -> Any:
        """An input with its values."""
        made = self.module.InferInput(name, list(array.shape), datatype)
        made.set_data_from_numpy(array)
        return made

    def told(self, answer: Any) -> Any:
        """What was told, as JSON."""
        if self.json:
            return answer
        from google.protobuf.json_format import MessageToDict

        return MessageToDict(answer, preserving_proto_field_name=True)


@contextmanager
def connected(protocol: str, address: str) -> Iterator[Client]:
    """A client by "http" or "grpc"."""
    module = MODULES[protocol]
    with module.InferenceServerClient(address) as client:
        yield Client(module, client, protocol == "http")
