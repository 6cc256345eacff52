"""Encodes small ONNX models for trials at run time, without the ``onnx`` package.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from collections.abc import Iterable, Mapping

from service.engine.onnx_file.protobuf import encode

FLOAT, UINT8, INT8, INT32 = 1, 2, 3, 6
"""onnx.proto, TensorProto.DataType."""


def model_of(name: str, parts: Iterable[bytes], opset: int) -> bytes:
    """Encode a model. ``parts`` are the encoded nodes, initializers, inputs and outputs."""
    graph = b"".join((*parts, encode(2, name)))
    return encode(1, 8) + encode(7, graph) + encode(8, encode(2, opset))


def node(
    operator: str, inputs: tuple[str, ...], output: str, integers: Mapping[str, int] | None = None
) -> bytes:
    """Encode a node with one output and integer attributes."""
    names = b"".join(encode(1, name) for name in inputs)
    attributes = b"".join(
        encode(5, encode(1, name) + encode(3, value) + encode(20, 2))
        for name, value in (integers or {}).items()
    )
    return encode(1, names + encode(2, output) + encode(4, operator) + attributes)


def tensor(name: str, kind: int, shape: tuple[int, ...], data: bytes) -> bytes:
    """Encode an initializer; ``data`` is little-endian."""
    dims = b"".join(encode(1, size) for size in shape)
    return encode(5, dims + encode(2, kind) + encode(8, name) + encode(9, data))


def value(field: int, name: str, kind: int, shape: tuple[int | str, ...]) -> bytes:
    """Encode an input (``field`` 11) or output (12)."""
    dims = b"".join(
        encode(1, encode(2, dim) if isinstance(dim, str) else encode(1, dim)) for dim in shape
    )
    tensor = encode(1, kind) + encode(2, dims)
    return encode(field, encode(1, name) + encode(2, encode(1, tensor)))
