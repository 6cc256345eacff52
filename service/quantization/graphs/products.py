"""Recognises products with constant weights, their biases, and embedding tables in a graph."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from service.core.tensors import Array
from service.engine.onnx_file.weights import CONSTANTS_APART
from service.quantization.graphs.parts import STANDARD, all_nodes


@dataclass(frozen=True, slots=True)
class Product:
    """The product of an activation [..., K] and a weight [K, N], plus ``bias`` if it is not "".

    ``transposed``: the weight is stored as [N, K]. ``alpha`` and ``beta`` are Gemm's factors of the
    product and of the bias.
    """

    activation: str
    weight: str
    output: str
    bias: str = ""
    transposed: bool = False
    alpha: float = 1.0
    beta: float = 1.0


@dataclass(frozen=True, slots=True)
class Table:
    """A lookup of rows in a constant table [rows, width]. All fields are names of tensors."""

    values: str
    index: str
    output: str


class Constants:
    """The constants in the scope of a graph: initializers and Constant nodes of the graph and of
    its outer graphs, except initializers that a request may override."""

    def __init__(
        self, graph: onnx.GraphProto, ir_version: int, around: "Constants | None" = None
    ) -> None:
        self._tensors: dict[str, TensorProto] = dict(around._tensors) if around else {}
        inputs = {value.name for value in graph.input}
        for name in inputs:
            self._tensors.pop(name, None)
        for tensor in graph.initializer:
            if tensor.name not in inputs or ir_version < CONSTANTS_APART:
                self._tensors[tensor.name] = tensor
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self._tensors[node.output[0]] = node.attribute[0].t

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def array(self, name: str) -> Array:
        """Return the values of a constant."""
        found: Array = numpy_helper.to_array(self._tensors[name])
        return found

    def size(self, name: str) -> int:
        """Return the number of values of a constant."""
        return prod(self._tensors[name].dims)

    def is_matrix(self, name: str) -> bool:
        """Return True if a tensor is a constant FP32 matrix."""
        tensor = self._tensors.get(name)
        return (
            tensor is not None and len(tensor.dims) == 2 and tensor.data_type == TensorProto.FLOAT
        )


def matrix(product: Product, constants: Constants) -> Array:
    """Return the weight of a product as [K, N], multiplied by ``alpha``."""
    values = constants.array(product.weight)
    values = values.T if product.transposed else values
    return values if product.alpha == 1 else values * np.float32(product.alpha)


def product_of(node: onnx.NodeProto, constants: Constants) -> Product | None:
    """Return the product of an activation and a constant FP32 matrix; None for other nodes."""
    if node.domain not in STANDARD or node.op_type not in ("MatMul", "Gemm"):
        return None
    activation, weight = node.input[:2]
    if activation in constants or not constants.is_matrix(weight):
        return None
    if node.op_type == "MatMul":
        return Product(activation, weight, node.output[0])
    given = attributes(node)
    if given.get("transA", 0):
        return None
    bias = node.input[2] if len(node.input) > 2 else ""
    transposed = bool(given.get("transB", 0))
    alpha, beta = float(given.get("alpha", 1.0)), float(given.get("beta", 1.0))
    return Product(activation, weight, node.output[0], bias, transposed, alpha, beta)


def table_of(node: onnx.NodeProto, constants: Constants) -> Table | None:
    """Return the lookup in a constant FP32 matrix; None for other nodes."""
    if node.op_type != "Gather" or node.domain not in STANDARD:
        return None
    values, index = node.input
    if index in constants or not constants.is_matrix(values) or attributes(node).get("axis", 0):
        return None
    return Table(values, index, node.output[0])


class Biases:
    """Joins a product with the Add of a constant [N] that follows it, if no other node reads the
    product's output."""

    def __init__(self, graph: onnx.GraphProto, constants: Constants) -> None:
        self._constants = constants
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in all_nodes(graph):
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        self._own = {name for node in graph.node for name in node.output}
        self._outputs = {value.name for value in graph.output}
        self._taken: set[str] = set()

    def joined(self, product: Product) -> Product:
        """Return the product joined with the bias that follows it, if there is one. The Add of the
        bias is then ``taken``."""
        readers = self._readers.get(product.output, [])
        if product.bias or product.output in self._outputs or len(readers) != 1:
            return product
        add = readers[0]
        others = [name for name in add.input if name != product.output]
        if add.op_type != "Add" or add.output[0] not in self._own or len(others) != 1:
            return product
        if others[0] not in self._constants or self._constants.array(others[0]).ndim != 1:
            return product
        self._taken.add(add.output[0])
        return replace(product, bias=others[0], output=add.output[0])

    def taken(self, node: onnx.NodeProto) -> bool:
        """Return True if a node is the Add of a joined product."""
        return bool(node.output) and node.output[0] in self._taken


def skipped(nodes: Iterable[onnx.NodeProto], constants: Constants) -> Iterator[str]:
    """Yield a reason for each product whose weight is not supported."""
    for node in nodes:
        if node.op_type not in ("MatMul", "Gemm") or product_of(node, constants):
            continue
        name = node.name or node.output[0]
        if node.input[0] in constants:
            yield f"{name} has a constant as its left operand"
        elif node.input[1] in constants:
            yield f"{name} has a weight that is not an FP32 matrix"
        elif node.op_type == "Gemm":
            yield f"{name} has a weight that is not constant"


def attributes(node: onnx.NodeProto) -> Mapping[str, float | int]:
    """Return the attributes of a node by name."""
    return {each.name: helper.get_attribute_value(each) for each in node.attribute}
