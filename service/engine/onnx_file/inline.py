"""Moves external data into a model if ONNX Runtime can only read it from files: for tensors of
nodes, subgraphs and functions.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from collections.abc import Mapping
from enum import Enum

from service.core.errors import LoadFailed
from service.engine.onnx_file.external import bytes_of, external_entries
from service.engine.onnx_file.protobuf import encode, fields, integers, view

MOST_BYTES = 2**31 - 1
"""Protobuf's limit for one message."""


class Kind(Enum):
    """A message that may contain tensors."""

    MODEL = "model"
    GRAPH = "graph"
    FUNCTION = "function"
    NODE = "node"
    ATTRIBUTE = "attribute"
    SPARSE = "sparse tensor"
    TENSOR = "tensor"


INSIDE = {
    Kind.MODEL: {7: Kind.GRAPH, 25: Kind.FUNCTION},
    Kind.GRAPH: {1: Kind.NODE, 5: Kind.TENSOR, 15: Kind.SPARSE},
    Kind.FUNCTION: {7: Kind.NODE},
    Kind.NODE: {5: Kind.ATTRIBUTE},
    Kind.ATTRIBUTE: {
        5: Kind.TENSOR, 10: Kind.TENSOR, 6: Kind.GRAPH, 11: Kind.GRAPH,
        22: Kind.SPARSE, 23: Kind.SPARSE,
    },
    Kind.SPARSE: {1: Kind.TENSOR, 2: Kind.TENSOR},
}  # fmt: skip
"""The fields of a message that are such messages."""
EXTERNAL = (14, 1)
"""The field data_location with the value EXTERNAL; without it, external entries have no effect."""
NUMBERS = (2, 7)
"""The floating-point fields of AttributeProto. An attribute with a tensor or a graph has no other
value."""


def inlined(
    model: memoryview, files: Mapping[str, bytes], *, everything: bool = False
) -> bytes | None:
    """Return the model with its external data inside; None if nothing changes. The data of the main
    graph's initializers is moved only with ``everything``. ``files`` has all files that the model
    names.

    Raises:
        LoadFailed: the model becomes too large for its format.
    """
    found = _Inliner(files, everything).rewritten(model, Kind.MODEL)
    if found is not None and len(found) > MOST_BYTES:
        raise LoadFailed(
            f"the model has {len(found)} bytes with the external data of its subgraphs and nodes,"
            f" the format allows {MOST_BYTES}: export these as initializers of the main graph"
        )
    return found


class _Inliner:
    def __init__(self, files: Mapping[str, bytes], everything: bool) -> None:
        self._files, self._everything = files, everything

    def rewritten(self, message: memoryview, kind: Kind, depth: int = 0) -> bytes | None:
        """Rewrite a message and its submessages; return None if nothing changes."""
        if kind is Kind.TENSOR:
            return self._tensor(message)
        parts, changed, inside = [], False, INSIDE[kind]
        keep = kind is Kind.GRAPH and depth == 1 and not self._everything
        for number, value in fields(message):
            inner = inside.get(number)
            new = None
            if inner is not None and not (keep and inner is Kind.TENSOR):
                new = self.rewritten(view(value), inner, depth + 1)
            changed = changed or new is not None
            if not (kind is Kind.ATTRIBUTE and number in NUMBERS):
                parts.append((number, value if new is None else new))
        return b"".join(encode(*part) for part in parts) if changed else None

    def _tensor(self, message: memoryview) -> bytes | None:
        where = dict(external_entries(message))
        if not where or EXTERNAL not in fields(message):
            return None
        dims, datatype, rest = [], 0, []
        for number, value in fields(message):
            if number == 1:
                dims += integers(value)
            elif number == 2 and isinstance(value, int):
                datatype = value
            if number not in (9, 13, 14):  # raw_data, external_data, data_location
                rest.append(encode(number, value))
        start = int(where.get("offset", "0"))
        size = bytes_of(datatype, dims) or int(where.get("length", "0"))
        data = memoryview(self._files[where.get("location", "")])
        return b"".join((*rest, encode(9, data[start : start + size])))
