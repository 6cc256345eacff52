"""A model whose products saturate wherever kernels can: all weights are 127, all activations 255.

ONNX Runtime chooses among kernels by shape: a single row or several; weights that it packs in
advance (matrices) or not (stacks of matrices); convolutions as products, direct, in groups, by
channel. Each kernel is tried, with lengths that fill vector registers and lengths that leave a
remainder.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from service.engine.onnx_file.writing import (
    FLOAT,
    INT8,
    INT32,
    UINT8,
    model_of,
    node,
    tensor,
    value,
)

LENGTHS, COLUMNS, ROWS = (4, 64, 131), 19, (1, 12)
CHANNELS = ((3, 16, 1), (16, 16, 1), (32, 32, 2), (16, 16, 16))
"""Channels in, channels out, groups."""
SIDE, KERNEL = 6, 3
WANTED = 200
"""Output of the convolutions for an exact sum; a saturated sum results in about half of it."""
ACTIVATION, WEIGHT = 255, 127


@dataclass(frozen=True, slots=True)
class Case:
    """One run: the shapes of the inputs, which are all 255, and the value that every element of
    each output must have."""

    inputs: tuple[tuple[str, tuple[int, ...]], ...]
    sums: tuple[int, ...]


def cases() -> Iterator[Case]:
    """Yield the runs of the trial."""
    images = tuple((f"image{i}", (1, c[0], SIDE, SIDE)) for i, c in enumerate(CHANNELS))
    sums = tuple(ACTIVATION * WEIGHT * k for k in LENGTHS for _ in range(2))
    for rows in ROWS:
        rows_in = tuple((f"x{k}", (rows, k)) for k in LENGTHS)
        yield Case((*rows_in, *images), (*sums, *(WANTED for _ in CHANNELS)))


def model() -> bytes:
    """Return the model of the trial, as the content of an ONNX file."""
    return model_of("saturation", [*_products(), *_convolutions()], 13)


def _products() -> Iterator[bytes]:
    for k in LENGTHS:
        yield value(11, f"x{k}", UINT8, ("rows", k))
        for name, stack in ((f"w{k}", ()), (f"stack{k}", (1,))):
            yield tensor(name, INT8, (*stack, k, COLUMNS), bytes([WEIGHT]) * k * COLUMNS)
            yield node("MatMulInteger", (f"x{k}", name), f"{name}_sums")
            yield value(12, f"{name}_sums", INT32, (*stack, "rows", COLUMNS))


def _convolutions() -> Iterator[bytes]:
    yield tensor("one", FLOAT, (), struct.pack("<f", 1.0))
    yield tensor("no_u8", UINT8, (), b"\0")
    for i, (channels, filters, groups) in enumerate(CHANNELS):
        shape = (filters, channels // groups, KERNEL, KERNEL)
        scale = ACTIVATION * WEIGHT * prod(shape[1:]) / WANTED
        yield value(11, f"image{i}", UINT8, (1, channels, SIDE, SIDE))
        yield tensor(f"filter{i}", INT8, shape, bytes([WEIGHT]) * prod(shape))
        yield tensor(f"no_s8_{i}", INT8, (), b"\0")
        yield tensor(f"scale{i}", FLOAT, (), struct.pack("<f", scale))
        weight = (f"filter{i}", "one", f"no_s8_{i}")
        names = (f"image{i}", "one", "no_u8", *weight, f"scale{i}", "no_u8")
        yield node("QLinearConv", names, f"map{i}", {"group": groups})
        side = SIDE - KERNEL + 1
        yield value(12, f"map{i}", UINT8, (1, filters, side, side))
