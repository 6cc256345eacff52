"""Products with constant weights, and embedding tables, as a graph holds them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from service.core.tensors import Array
from service.engine.weights import CONSTANTS_APART
from service.quantization.graph_parts import STANDARD, all_nodes


@dataclass(frozen=True, slots=True)
class Product:
    """``activation`` [..., K] times a weight [K, N], plus ``bias`` if there is one, both by name.

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
    """Rows of ``values`` [rows, width], by name, that are gathered by an index."""

    values: str
    index: str
    output: str


class Constants:
    """The constants that a graph sees: its initializers and Constant nodes, and those of the graphs
    around it. What a request may override is none."""

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
        """The values of a constant."""
        found: Array = numpy_helper.to_array(self._tensors[name])
        return found

    def size(self, name: str) -> int:
        """How many values a constant has."""
        return prod(self._tensors[name].dims)

    def is_matrix(self, name: str) -> bool:
        """Whether it is a constant matrix of FP32."""
        tensor = self._tensors.get(name)
        return (
            tensor is not None and len(tensor.dims) == 2 and tensor.data_type == TensorProto.FLOAT
        )


def matrix(product: Product, constants: Constants) -> Array:
    """The weight of a product as [K, N], with Gemm's factor."""
    values = constants.array(product.weight)
    values = values.T if product.transposed else values
    return values if product.alpha == 1 else values * np.float32(product.alpha)


def product_of(node: onnx.NodeProto, constants: Constants) -> Product | None:
    """A node as a product of an activation with a constant matrix of FP32; None if it is none."""
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
    """A node that gathers rows of a constant matrix; None if it does not."""
    if node.op_type != "Gather" or node.domain not in STANDARD:
        return None
    values, index = node.input
    if index in constants or not constants.is_matrix(values) or attributes(node).get("axis", 0):
        return None
    return Table(values, index, node.output[0])


class Biases:
    """Constants [N] that a graph adds to the result of a product, and to nothing else of it."""

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
        """The product with the bias that follows it, whose Add is then taken."""
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
        """Whether a product has this node in it by now."""
        return bool(node.output) and node.output[0] in self._taken


def skipped(nodes: Iterable[onnx.NodeProto], constants: Constants) -> Iterator[str]:
    """Why products that look as if they had weights cannot be taken, a line for each such node."""
    for node in nodes:
        if node.op_type not in ("MatMul", "Gemm") or product_of(node, constants):
            continue
        name = node.name or node.output[0]
        if node.input[0] in constants:
            yield f"{name} multiplies a constant from the left"
        elif node.input[1] in constants:
            yield f"{name} has a weight that is no matrix of FP32"
        elif node.op_type == "Gemm":
            yield f"{name} has a weight that is computed"


def attributes(node: onnx.NodeProto) -> Mapping[str, float | int]:
    """The attributes of a node by name."""
    return {each.name: helper.get_attribute_value(each) for each in node.attribute}
