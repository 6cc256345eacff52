"""Copies a model so that each product has INT8 constants of its own, in its own graph.

ONNX Runtime's exact kernels store each weight again, under a name derived from the old one. They
fail if a weight or zero point is used twice ("Attempt to replace the existing tensor"): tied
weights, a layer that is run twice, one zero point for all weights. In a branch or loop body they
ignore constants of the outer graph, which merged decoders have; then those products saturate.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from service.engine.onnx_file.protobuf import WireError, encode, fields, text, view
from service.engine.onnx_file.weights import CONSTANTS_APART

INT8 = 3
"""onnx.proto, TensorProto.DataType."""
PLACES = {
    "DequantizeLinear": (0, 2), "DynamicQuantizeLSTM": (1, 2, 9, 11),
    "DynamicQuantizeMatMul": (1, 3), "MatMulInteger": (1, 3), "MatMulIntegerToFloat": (1, 5),
    "QAttention": (1, 7), "QGemm": (3, 5), "QLinearConv": (3, 5), "QLinearMatMul": (3, 5),
}  # fmt: skip
"""The inputs of operators that are a weight or its zero point."""
MOST_NODES = 20_000
Fields = list[tuple[int, int | memoryview]]


def unshared(model: memoryview) -> bytes | None:
    """Return the model with a copy of the constants for each use; None if there is nothing to copy,
    or the model cannot be read. Functions are not changed, because ONNX Runtime expands each
    call."""
    try:
        parts = list(fields(model))
        content = [pair for n, value in parts if n == 7 for pair in fields(view(value))]
        old = any(n == 1 and value in range(CONSTANTS_APART) for n, value in parts)
        graph = _Graph(content, old)
        graph.separate()
    except WireError:
        return None
    if not graph.copies:
        return None
    rest = b"".join(encode(number, value) for number, value in parts if number != 7)
    return rest + encode(7, graph.encoded())


@dataclass(slots=True)
class _Node:
    """A node whose inputs can be renamed; ``rest`` are all fields except inputs and outputs."""

    operator: str
    inputs: list[str]
    outputs: list[str]
    rest: Fields

    def encoded(self) -> bytes:
        names = b"".join(encode(1, name) for name in self.inputs)
        names += b"".join(encode(2, name) for name in self.outputs)
        return encode(1, names + b"".join(encode(*pair) for pair in self.rest))

    def copy(self, output: str) -> "_Node":
        """Copy the node without its name, with another output."""
        rest = [pair for pair in self.rest if pair[0] != 3]
        return _Node(self.operator, list(self.inputs), [output], rest)


Constant = Fields | _Node
"""An initializer, or a Constant node."""


@dataclass(slots=True)
class _Graph:
    """A graph. ``parent`` is the graph around it; ``constants`` are its INT8 constants, by name.
    ``old``: an initializer that is also an input is a constant, not a default that a request may
    override. ``copies`` counts the added copies, ``numbers`` makes names unique."""

    content: Fields
    old: bool
    parent: "_Graph | None" = None
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    nodes: list[_Node] = field(default_factory=list)
    constants: dict[str, Constant] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    added: bytes = b""
    copies: int = 0

    def separate(self) -> None:
        """Give each use a constant of its own."""
        self._read()
        for node in [node for node in self.nodes if node.operator == "DequantizeLinear"]:
            self._separate_readers(node)
        seen: set[str] = set()
        for node in list(self.nodes):
            for place in PLACES.get(node.operator, ()):
                name = node.inputs[place] if place < len(node.inputs) else ""
                if name in seen or self._is_outer(name):
                    node.inputs[place] = self._copy(name)
                elif name in self.constants:
                    seen.add(name)
            node.rest = [self._separate_inside(pair) for pair in node.rest]

    def encoded(self) -> bytes:
        nodes = b"".join(node.encoded() for node in self.nodes)
        rest = b"".join(encode(*pair) for pair in self.content if pair[0] != 1)
        return nodes + rest + self.added

    def _read(self) -> None:
        given = []
        for number, value in self.content:
            if number == 5:
                tensor = list(fields(view(value)))
                self._define(_text(tensor, 8), tensor if (2, INT8) in tensor else None)
            elif number == 11:
                given.append(_text(list(fields(view(value))), 1))
            elif number == 1:
                node = _node(list(fields(view(value))))
                self.nodes.append(node)
                if len(self.nodes) > MOST_NODES:
                    raise WireError("too many nodes to compare each with every other one")
                int8 = node.operator == "Constant" and _is_int8(node)
                for output in node.outputs:
                    self._define(output, node if int8 else None)
        for name in () if self.old else given:
            self.constants.pop(name, None)
        self.names.update(given)

    def _define(self, name: str, constant: Constant | None = None) -> None:
        self.names.add(name)
        if constant is not None:
            self.constants[name] = constant

    def _find(self, name: str) -> Constant | None:
        """Return the constant of this name, in this graph or an outer one."""
        if self.parent is None or name in self.names:
            return self.constants.get(name)
        return self.parent._find(name)

    def _is_outer(self, name: str) -> bool:
        return name not in self.names and self._find(name) is not None

    def _separate_readers(self, node: _Node) -> None:
        """Copy the DequantizeLinear of a weight for each further node that reads it."""
        name, output = node.inputs[0], node.outputs[0]
        if self._find(name) is None:
            return
        readers = [
            (each, place)
            for each in self.nodes
            for place, read in enumerate(each.inputs)
            if read == output
        ]
        for each, place in readers[1:]:
            each.inputs[place] = self._name(output)
            self.nodes.insert(self.nodes.index(node), node.copy(each.inputs[place]))

    def _separate_inside(self, pair: tuple[int, int | memoryview]) -> tuple[int, int | memoryview]:
        """Return a field of a node, in which the graph of an attribute is separated as well."""
        attribute = list(fields(view(pair[1]))) if pair[0] == 5 else []
        graph = next((view(value) for number, value in attribute if number == 6), None)
        if graph is None:
            return pair
        inner = _Graph(list(fields(graph)), self.old, self, self.numbers)
        inner.separate()
        if not inner.copies:
            return pair
        self.copies += inner.copies
        rest = b"".join(encode(*each) for each in attribute if each[0] != 6)
        return 5, memoryview(rest + encode(6, inner.encoded()))

    def _copy(self, name: str) -> str:
        copy = self._name(name)
        constant = self._find(name)
        assert constant is not None, "only constants are copied. This is a bug."
        if isinstance(constant, _Node):
            self.nodes.insert(0, constant.copy(copy))
        else:
            rest = (encode(*pair) for pair in constant if pair[0] != 8)
            self.added += encode(5, b"".join(rest) + encode(8, copy))
        return copy

    def _name(self, name: str) -> str:
        self.copies += 1
        return f"{name}_copy_{next(self.numbers)}"


def _node(content: Fields) -> _Node:
    return _Node(
        _text(content, 4),
        [text(value) for number, value in content if number == 1],
        [text(value) for number, value in content if number == 2],
        [pair for pair in content if pair[0] not in (1, 2)],
    )


def _is_int8(node: _Node) -> bool:
    attributes = [list(fields(view(value))) for number, value in node.rest if number == 5]
    tensors = [view(value) for each in attributes for number, value in each if number == 5]
    return any((2, INT8) in list(fields(tensor)) for tensor in tensors)


def _text(content: Fields, wanted: int) -> str:
    return next((text(value) for number, value in content if number == wanted), "")
