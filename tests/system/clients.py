"""Triton's clients for HTTP and gRPC, behind one interface, so that a test can use both."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

import tritonclient.grpc
import tritonclient.http

MODULES = {"http": tritonclient.http, "grpc": tritonclient.grpc}


class Client(NamedTuple):
    """A client for one of the two protocols, and its module."""

    module: ModuleType
    client: Any
    json: bool

    def given(self, name: str, array: Any, datatype: str) -> Any:
        """Return an input with its values."""
        made = self.module.InferInput(name, list(array.shape), datatype)
        made.set_data_from_numpy(array)
        return made

    def told(self, answer: Any) -> Any:
        """Return a reply of the client as JSON."""
        if self.json:
            return answer
        from google.protobuf.json_format import MessageToDict

        return MessageToDict(answer, preserving_proto_field_name=True)


@contextmanager
def connected(protocol: str, address: str) -> Iterator[Client]:
    """Connect a client by "http" or "grpc"."""
    module = MODULES[protocol]
    with module.InferenceServerClient(address) as client:
        yield Client(module, client, protocol == "http")
