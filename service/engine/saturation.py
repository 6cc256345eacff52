"""A model of products that saturate if any can: all weights 127, all activations 255. It is encoded
here, since serving does without the ``onnx`` package.

ONNX Runtime chooses among kernels by shape: a single row or several, weights that it packs ahead
(matrices) or not (stacks of them), convolutions as products, direct, in groups, by channel. Each is
tried, with lengths that fill vector registers and lengths that leave a remainder.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

from service.engine.wire import encode

FLOAT, UINT8, INT8, INT32 = 1, 2, 3, 6
"""onnx.proto, TensorProto.DataType."""
LENGTHS, COLUMNS, ROWS = (4, 64, 131), 19, (1, 12)
CHANNELS = ((3, 16, 1), (16, 16, 1), (32, 32, 2), (16, 16, 16))
"""Channels in, channels out, groups."""
SIDE, KERNEL = 6, 3
WANTED = 200
"""What the convolutions give for an exact sum; for a saturated one they give about half."""
ACTIVATION, WEIGHT = 255, 127


@dataclass(frozen=True, slots=True)
class Case:
    """One run: the shapes of the inputs, which are all 255, and the value that every element of
    each output must have."""

    inputs: tuple[tuple[str, tuple[int, ...]], ...]
    sums: tuple[int, ...]


def cases() -> Iterator[Case]:
    """The runs of the trial."""
    images = tuple((f"image{i}", (1, c[0], SIDE, SIDE)) for i, c in enumerate(CHANNELS))
    sums = tuple(ACTIVATION * WEIGHT * k for k in LENGTHS for _ in range(2))
    for rows in ROWS:
        rows_in = tuple((f"x{k}", (rows, k)) for k in LENGTHS)
        yield Case((*rows_in, *images), (*sums, *(WANTED for _ in CHANNELS)))


def model() -> bytes:
    """The model of the trial, as the content of an ONNX file."""
    parts = [*_products(), *_convolutions()]
    graph = b"".join((*parts, encode(2, "saturation")))
    opset = encode(2, 13)
    return encode(1, 8) + encode(7, graph) + encode(8, opset)


def _products() -> Iterator[bytes]:
    for k in LENGTHS:
        yield _value(11, f"x{k}", UINT8, ("rows", k))
        for name, stack in ((f"w{k}", ()), (f"stack{k}", (1,))):
            yield _tensor(name, INT8, (*stack, k, COLUMNS), bytes([WEIGHT]) * k * COLUMNS)
            yield _node("MatMulInteger", (f"x{k}", name), f"{name}_sums")
            yield _value(12, f"{name}_sums", INT32, (*stack, "rows", COLUMNS))


def _convolutions() -> Iterator[bytes]:
    yield _tensor("one", FLOAT, (), struct.pack("<f", 1.0))
    yield _tensor("no_u8", UINT8, (), b"\0")
    for i, (channels, filters, groups) in enumerate(CHANNELS):
        shape = (filters, channels // groups, KERNEL, KERNEL)
        scale = ACTIVATION * WEIGHT * prod(shape[1:]) / WANTED
        yield _value(11, f"image{i}", UINT8, (1, channels, SIDE, SIDE))
        yield _tensor(f"filter{i}", INT8, shape, bytes([WEIGHT]) * prod(shape))
        yield _tensor(f"no_s8_{i}", INT8, (), b"\0")
        yield _tensor(f"scale{i}", FLOAT, (), struct.pack("<f", scale))
        weight = (f"filter{i}", "one", f"no_s8_{i}")
        names = (f"image{i}", "one", "no_u8", *weight, f"scale{i}", "no_u8")
        yield _node("QLinearConv", names, f"map{i}", {"group": groups})
        side = SIDE - KERNEL + 1
        yield _value(12, f"map{i}", UINT8, (1, filters, side, side))


def _node(
    operator: str, inputs: tuple[str, ...], output: str, integers: Mapping[str, int] | None = None
) -> bytes:
    names = b"".join(encode(1, name) for name in inputs)
    attributes = b"".join(
        encode(5, encode(1, name) + encode(3, value) + encode(20, 2))
        for name, value in (integers or {}).items()
    )
    return encode(1, names + encode(2, output) + encode(4, operator) + attributes)


def _tensor(name: str, kind: int, shape: tuple[int, ...], data: bytes) -> bytes:
    dims = b"".join(encode(1, size) for size in shape)
    return encode(5, dims + encode(2, kind) + encode(8, name) + encode(9, data))


def _value(field: int, name: str, kind: int, shape: tuple[int | str, ...]) -> bytes:
    """An input (field 11) or output (12)."""
    dims = b"".join(
        encode(1, encode(2, dim) if isinstance(dim, str) else encode(1, dim)) for dim in shape
    )
    tensor = encode(1, kind) + encode(2, dims)
    return encode(field, encode(1, name) + encode(2, encode(1, tensor)))
