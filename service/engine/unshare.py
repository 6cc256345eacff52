"""A copy of a model in which no two products share an INT8 constant.

ONNX Runtime's exact kernels store each weight anew, under a name made of the old one, and fail on a
weight or zero point that they meet twice ("Attempt to replace the existing tensor"): tied weights,
a layer that is run twice, one zero point for all. With a copy for each use they load.
"""

from dataclasses import dataclass, field

from service.engine.wire import WireError, encode, fields, text, view

INT8 = 3
"""onnx.proto, TensorProto.DataType."""
PLACES = {
    "DequantizeLinear": (0, 2), "DynamicQuantizeLSTM": (1, 2, 9, 11),
    "DynamicQuantizeMatMul": (1, 3), "MatMulInteger": (1, 3), "MatMulIntegerToFloat": (1, 5),
    "QAttention": (1, 7), "QGemm": (3, 5), "QLinearConv": (3, 5), "QLinearMatMul": (3, 5),
}  # fmt: skip
"""Where operators take a weight or its zero point."""
MOST_NODES = 20_000
Fields = list[tuple[int, int | memoryview]]


def unshared(model: memoryview) -> bytes | None:
    """The model with a copy for each use; None where nothing is shared, or where that
    cannot be told. What subgraphs and functions share stays shared."""
    try:
        parts = list(fields(model))
        graph = _Graph([pair for n, value in parts if n == 7 for pair in fields(view(value))])
        graph.separate()
    except WireError:
        return None
    if not graph.copies:
        return None
    rest = b"".join(encode(number, value) for number, value in parts if number != 7)
    return rest + encode(7, graph.encoded())


@dataclass(slots=True)
class _Node:
    """A node whose inputs can be renamed; ``rest`` is what is neither input nor output."""

    operator: str
    inputs: list[str]
    outputs: list[str]
    rest: Fields

    def encoded(self) -> bytes:
        names = b"".join(encode(1, name) for name in self.inputs)
        names += b"".join(encode(2, name) for name in self.outputs)
        return encode(1, names + b"".join(encode(*pair) for pair in self.rest))

    def copy(self, output: str) -> "_Node":
        """The same under no name, giving something else."""
        rest = [pair for pair in self.rest if pair[0] != 3]
        return _Node(self.operator, list(self.inputs), [output], rest)


@dataclass(slots=True)
class _Graph:
    """``copies`` counts what was added. Constants are initializers or nodes, by name."""

    content: Fields
    nodes: list[_Node] = field(default_factory=list)
    tensors: dict[str, Fields] = field(default_factory=dict)
    constants: dict[str, _Node] = field(default_factory=dict)
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
                if name in seen:
                    node.inputs[place] = self._copy(name)
                elif name in self.tensors or name in self.constants:
                    seen.add(name)

    def encoded(self) -> bytes:
        nodes = b"".join(node.encoded() for node in self.nodes)
        rest = b"".join(encode(*pair) for pair in self.content if pair[0] != 1)
        return nodes + rest + self.added

    def _read(self) -> None:
        for number, value in self.content:
            if number == 5:
                tensor = list(fields(view(value)))
                if (2, INT8) in tensor:
                    self.tensors[_text(tensor, 8)] = tensor
            elif number == 1:
                node = _node(list(fields(view(value))))
                self.nodes.append(node)
                if len(self.nodes) > MOST_NODES:
                    raise WireError("too many nodes to look at each beside each other")
                if node.operator == "Constant" and _is_int8(node):
                    self.constants[node.outputs[0]] = node

    def _separate_readers(self, node: _Node) -> None:
        """One DequantizeLinear of a weight for each product that reads it."""
        name, output = node.inputs[0], node.outputs[0]
        if name not in self.tensors and name not in self.constants:
            return
        readers = [
            (each, place)
            for each in self.nodes
            for place, read in enumerate(each.inputs)
            if read == output
        ]
        for each, place in readers[1:]:
            self.copies += 1
            each.inputs[place] = f"{output}_copy_{self.copies}"
            self.nodes.insert(self.nodes.index(node), node.copy(each.inputs[place]))

    def _copy(self, name: str) -> str:
        self.copies += 1
        copy = f"{name}_copy_{self.copies}"
        if name in self.constants:
            self.nodes.insert(0, self.constants[name].copy(copy))
        else:
            rest = (encode(*pair) for pair in self.tensors[name] if pair[0] != 8)
            self.added += encode(5, b"".join(rest) + encode(8, copy))
        return copy


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
