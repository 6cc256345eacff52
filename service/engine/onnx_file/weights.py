"""Checks whether the INT8 weights of a file are so small that the sum of two products fits 16 bits.

255 * a + 255 * b stays below 32,768 for all |a|, |b| <= 64. Up to this bound, ONNX Runtime's exact
kernels do not change a tensor. Unknown weights count as too large: weights that are computed, come
with a request, or are rounded to INT8 while the file is loaded, and data that cannot be read.
"""

from functools import cached_property
from math import prod

import numpy as np

from service.core.errors import LoadFailed
from service.core.graph_limits import MAX_FIELDS
from service.core.tensors import Array
from service.engine.onnx_file.external import external_entries
from service.engine.onnx_file.protobuf import fields, integers
from service.engine.onnx_file.scan import Node, Scan
from service.engine.onnx_file.snapshot import Source

LARGEST = 64
UNKNOWN = 255
CONSTANTS_APART = 4
"""onnx.proto, Version: from this version on, an initializer that is also an input is a default."""
INT8 = 3
"""onnx.proto, TensorProto.DataType."""
WEIGHTS = {
    "ConvInteger": (1,), "DequantizeLinear": (0,), "DynamicQuantizeLSTM": (1, 2),
    "DynamicQuantizeMatMul": (1,), "MatMulInteger": (1,), "MatMulIntegerToFloat": (1,),
    "QAttention": (1,), "QGemm": (3,), "QLinearConv": (3,), "QLinearMatMul": (3,),
}  # fmt: skip
"""The inputs of an operator that may become the S8 side of a product. ONNX Runtime fuses a
DequantizeLinear with the product that reads it."""
UNFUSED = {
    "Add", "Concat", "Div", "LayerNormalization", "Mul", "QuantizeLinear", "SkipLayerNormalization",
    "Sub",
}  # fmt: skip
"""Readers of a DequantizeLinear that are no products: the table of an embedding may have any
values."""
REMOVABLE = {"Add", "Div", "Mul", "Sub"}
"""ONNX Runtime removes these operators if one side is a scalar 0 or 1, and then fuses the next
operator."""


def weights_fit(source: Source) -> bool:
    """Read the weights, and return whether every sum of two products fits 16 bits, for any
    activations.

    Also False for a file that cannot be read; the loader reports that error.
    """
    scan = _Weights(source)
    try:
        scan.read(source.model(), source.name)
    except (LoadFailed, OSError):
        return False
    return scan.fit


def overridable_weights(source: Source) -> tuple[str, ...]:
    """Return the large INT8 weights that are also inputs, so that a request may override them. They
    are not constants, so ONNX Runtime's exact kernels do not change them.

    Raises:
        LoadFailed: the file cannot be read.
    """
    scan = _Weights(source)
    scan.read(source.model(), source.name)
    return scan.overridable


class _Weights(Scan):
    """A scan that collects the nodes, and the largest magnitude of each INT8 tensor."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._met: list[Node] = []
        self._types: dict[str, int] = {}
        self._largest: dict[str, int] = {}
        self._given: set[str] = set()
        self._large: set[str] = set()

    def visit(self, node: Node) -> None:
        self._met.append(node)

    def keep(self, name: str, datatype: int, dims: list[int], message: memoryview) -> None:
        self._types[name] = datatype
        if prod(dims) > 1:
            self._large.add(name)
        if datatype == INT8 and 0 not in dims:
            found = _largest(message, self._source)
            self._largest[name] = max(found, self._largest.get(name, 0))

    def entry(self, name: str) -> None:
        self._given.add(name)

    @property
    def fit(self) -> bool:
        """True if all weights of products are constants and small."""
        if any(each.operator == "QuantizeLinear" and self._gives_int8(each) for each in self._met):
            return False
        # Only unsigned activations are left: models with signed activations returned above.
        quantizers = ("QuantizeLinear", "DynamicQuantizeLinear")
        unsigned = {n.outputs[0] for n in self._met if n.operator in quantizers and n.outputs}
        return all(
            name in unsigned or self._small(name)
            for node in self._met
            for name in self._weights_of(node)
        )

    @property
    def overridable(self) -> tuple[str, ...]:
        """The weights that are too large and also inputs."""
        names = {name for node in self._met for name in self._weights_of(node)} & self._given_here
        return tuple(sorted(name for name in names if self._largest.get(name, 0) > LARGEST))

    @property
    def _given_here(self) -> set[str]:
        """The inputs of requests. Before IR version 4, weights were also listed as inputs."""
        return (
            self._given if self.ir_version >= CONSTANTS_APART else self._given - self._types.keys()
        )

    def _small(self, name: str) -> bool:
        constant = name in self._types and name not in self._given_here
        return constant and self._largest.get(name, 0) <= LARGEST

    def _gives_int8(self, node: Node) -> bool:
        zero_point = node.inputs[2] if len(node.inputs) > 2 else ""
        if not zero_point:
            return node.integers.get("output_dtype") == INT8
        return self._types.get(zero_point, INT8) == INT8

    def _weights_of(self, node: Node) -> list[str]:
        if node.operator == "DequantizeLinear" and self._unfused >= set(node.outputs):
            return []
        return [node.inputs[i] for i in WEIGHTS.get(node.operator, ()) if i < len(node.inputs)]

    @cached_property
    def _unfused(self) -> set[str]:
        """The tensors that no product reads, not even after an operator that is removed."""
        made = {name for n in self._met if n.operator == "Constant" for name in n.outputs}
        scalars = (self._types.keys() | made) - self._large
        unfused: set[str] = set()
        others: set[str] = set()
        for node in self._met:
            removable = node.operator in REMOVABLE and not scalars.isdisjoint(node.inputs)
            stays = node.operator in UNFUSED and not removable
            (unfused if stays else others).update(node.inputs)
        return unfused - others


def _largest(message: memoryview, source: Source) -> int:
    """Return the largest magnitude in an INT8 tensor."""
    try:
        values = _values(message, source)
    except (OSError, ValueError):
        return UNKNOWN
    return max(-int(values.min()), int(values.max())) if values.size else UNKNOWN


def _values(message: memoryview, source: Source) -> Array:
    elsewhere = external_entries(message)
    if elsewhere:
        return _values_beside(dict(elsewhere), source)
    numbers: list[int] = []
    for field, value in fields(message):
        if field == 9 and isinstance(value, memoryview):
            return np.frombuffer(value, np.int8)
        if field == 5:
            numbers += integers(value, MAX_FIELDS)
    # Varints encode negative numbers with 64 bits; the lowest 8 bits are the value.
    return np.array([number & 0xFF for number in numbers], np.uint8).view(np.int8)


def _values_beside(where: dict[str, str], source: Source) -> Array:
    data = source.beside(where.get("location", ""))
    return np.frombuffer(data, np.int8, int(where.get("length", -1)), int(where.get("offset", 0)))
