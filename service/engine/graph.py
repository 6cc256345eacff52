"""What an ONNX file says of itself: the precision of its weights, how it is quantized, and which
other files it names. Read from the file without loading it and without the ``onnx`` package.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

import mmap
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import NamedTuple

from service.core.bounded import Step
from service.core.errors import LoadFailed
from service.engine.bounds import Bounds
from service.engine.external import ExternalData, external_data
from service.engine.paths import leads_outside
from service.engine.wire import WireError, fields, integers, text, view

# onnx.proto, TensorProto.DataType: only what may hold weights. Integers of 32 and 64 bits are
# biases, shapes and indices.
WEIGHT_TYPES = {
    1: "FP32",
    2: "INT8",
    3: "INT8",
    4: "INT16",
    5: "INT16",
    10: "FP16",
    11: "FP64",
    16: "BF16",
    17: "FP8",
    18: "FP8",
    19: "FP8",
    20: "FP8",
    21: "INT4",
    22: "INT4",
    23: "FP4",
    25: "INT2",
    26: "INT2",
}
FLOATS = ("FP64", "FP32", "FP16", "BF16")
DYNAMIC_OPS = {"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"}
"""They find an activation's scale at run time, over all rows at once."""
INTEGER_OPS = {"MatMulInteger", "MatMulIntegerToFloat", "ConvInteger", "QGemm", "QAttention"}
"""Integer arithmetic on scales that they are given."""
BLOCK_OPS = {"MatMulNBits": 1, "GatherBlockQuantized": 0}
"""Weights of fewer than eight bits packed into bytes, and which input holds them."""
MAINLY = 0.9
"""From this share on the rest of the weights is not worth a word."""
MAX_DEPTH = 32


@dataclass(frozen=True, slots=True)
class Precision:
    """The share of the weights in each number format, largest first, and how they are quantized.

    ``scheme`` is "QDQ", "QOperator", "dynamic", "weight-only", or "" for a graph in float.
    """

    shares: tuple[tuple[str, float], ...]
    scheme: str

    @property
    def dynamic(self) -> bool:
        """Whether activations get their scale from the whole tensor at run time."""
        return self.scheme == "dynamic"

    def __str__(self) -> str:
        """Such as "INT8 QDQ" or "INT8 dynamic, 51 % FP32"."""
        if not self.shares:
            return "no weights"
        # Zero points are integers as well, but a thousandth of them.
        integers = [each for each in self.shares if each[0] not in FLOATS and each[1] > 0.01]
        kind, share = (integers or self.shares)[0]
        text = f"{kind} {self.scheme}".rstrip()
        if share >= MAINLY:
            return text
        other, share = next(each for each in self.shares if each[0] != kind)
        return f"{text}, {100 * share:.0f} % {other}"


@dataclass(frozen=True, slots=True)
class GraphSummary:
    """What is known of a graph before it is loaded. ``external`` has one entry for each file that
    the graph names, with the tensor that reaches furthest into it. ``unranked`` are the inputs and
    outputs that it declares without a shape, which is not the shape of a scalar; ``operators`` are
    those of all nodes. ``unbounded`` names what may take any time, whatever the shapes of the
    inputs; "" where nothing does."""

    precision: Precision
    external: tuple[ExternalData, ...]
    unranked: frozenset[str] = frozenset()
    operators: frozenset[str] = frozenset()
    unbounded: str = ""

    @property
    def external_files(self) -> tuple[str, ...]:
        """The names of those files, sorted."""
        return tuple(each.location for each in self.external)


class Node(NamedTuple):
    """An operator with the names of what it takes and gives, and its integer attributes."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    integers: Mapping[str, int]
    domain: str = ""


class Scan:
    """One walk over a file. ``visit``, ``keep``, ``entry`` and ``unshaped`` are told what is met on
    the way."""

    ir_version = 0

    def read(self, path: Path) -> None:
        """Walk over a file.

        Raises:
            LoadFailed: it cannot be read, or is not an ONNX model.
        """
        graphs = 0
        try:
            with path.open("rb") as file:
                # The map is closed by the garbage collector, after the last view of it.
                message = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
                for number, value in fields(message):
                    if number == 7:
                        self.graph(view(value))
                        graphs += 1
                    elif number == 25:
                        self.function(view(value))
                    elif number == 1 and isinstance(value, int):
                        self.ir_version = value
        except OSError as error:
            raise LoadFailed(f"{path.name} cannot be read: {error.strerror or error}") from error
        except ValueError as error:
            raise LoadFailed(f"{path.name} is not an ONNX model: {error}") from None
        if graphs != 1:
            raise LoadFailed(f"{path.name} is not an ONNX model: it holds {graphs} graphs")

    def visit(self, node: Node) -> None:
        """A node, in a graph or a function."""

    def keep(self, name: str, datatype: int, dims: list[int], message: memoryview) -> None:
        """A tensor; one in a node goes by the name of the node's output."""

    def entry(self, name: str) -> None:
        """An input of a graph."""

    def unshaped(self, name: str) -> None:
        """An input or output of the model that is declared without a shape."""

    def graph(self, message: memoryview, depth: int = 0) -> None:
        """A graph, of the model or of a node such as If."""
        if depth > MAX_DEPTH:
            raise WireError(f"graphs nested more than {MAX_DEPTH} deep")
        for number, value in fields(message):
            if number == 1:
                self.node(view(value), depth)
            elif number == 5:
                self.tensor(view(value))
            elif number in (11, 12):
                name, ranked = _declaration(view(value))
                if number == 11:
                    self.entry(name)
                if not ranked and depth == 0:
                    self.unshaped(name)
            elif number == 15:
                self.sparse(view(value))

    def function(self, message: memoryview) -> None:
        """A function that the file defines."""
        for number, value in fields(message):
            if number == 7:
                self.node(view(value), 0)

    def sparse(self, message: memoryview, name: str = "") -> None:
        """A sparse tensor: its values and their places."""
        for number, value in fields(message):
            if number in (1, 2):
                self.tensor(view(value), name)

    def node(self, message: memoryview, depth: int) -> None:
        """A node with what is inside of it."""
        inputs, outputs, operator, domain, attributes = [], [], "", "", []
        for number, value in fields(message):
            if number == 1:
                inputs.append(text(value))
            elif number == 2:
                outputs.append(text(value))
            elif number == 4:
                operator = text(value)
            elif number == 5:
                attributes.append(view(value))
            elif number == 7:
                domain = text(value)
        name = outputs[-1] if outputs else ""
        found = (self.attribute(each, name, depth) for each in attributes)
        integers_ = dict(filter(None, found))
        self.visit(Node(operator, tuple(inputs), tuple(outputs), integers_, domain))

    def attribute(self, message: memoryview, output: str, depth: int) -> tuple[str, int] | None:
        """Walk into tensors and graphs; gives the name and the value of an integer."""
        name, integer = "", None
        for number, value in fields(message):
            if number == 1:
                name = text(value)
            elif number == 3 and isinstance(value, int):
                integer = value
            elif number in (5, 10):
                self.tensor(view(value), output)
            elif number in (6, 11):
                self.graph(view(value), depth + 1)
            elif number in (22, 23):
                self.sparse(view(value), output)
        return None if integer is None else (name, integer)

    def tensor(self, message: memoryview, name: str = "") -> None:
        """A tensor, constant in the file or beside it."""
        dims, datatype = [], 0
        for number, value in fields(message):
            if number == 1:
                dims += integers(value)
            elif number == 2 and isinstance(value, int):
                datatype = value
            elif number == 8:
                name = name or text(value)
        self.keep(name, datatype, dims, message)


class _Summary(Scan):
    """Collects what the summary needs."""

    def __init__(self) -> None:
        self.operators: set[str] = set()
        self.weights: list[tuple[str, str, int]] = []
        self.external: dict[str, ExternalData] = {}
        self.blocks: dict[str, int] = {}
        self.unranked: set[str] = set()
        self.bounds = Bounds()

    def visit(self, node: Node) -> None:
        self.operators.add(node.operator)
        self.bounds.visit(Step(node.domain, node.operator, node.inputs, node.outputs))
        place = BLOCK_OPS.get(node.operator)
        if place is not None and place < len(node.inputs):
            self.blocks[node.inputs[place]] = node.integers.get("bits") or 4

    def keep(self, name: str, datatype: int, dims: list[int], message: memoryview) -> None:
        for found in external_data(name, external_entries(message), datatype, dims):
            furthest = self.external.get(found.location, found)
            self.external[found.location] = max(furthest, found, key=lambda each: each.end)
        if datatype in WEIGHT_TYPES:
            self.weights.append((name, WEIGHT_TYPES[datatype], prod(dims)))
        self.bounds.keep(name)

    def entry(self, name: str) -> None:
        self.bounds.entry(name)

    def function(self, message: memoryview) -> None:
        names = {number: text(value) for number, value in fields(message) if number in (1, 10)}
        with self.bounds.function(names.get(10, ""), names.get(1, "")):
            super().function(message)

    def unshaped(self, name: str) -> None:
        self.unranked.add(name)

    def precision(self) -> Precision:
        counts: Counter[str] = Counter()
        for name, kind, size in self.weights:
            bits = self.blocks.get(name)
            if bits is not None and kind == "INT8":
                kind, size = f"INT{bits}", size * 8 // bits
            counts[kind] += size
        total = sum(counts.values())
        shares = tuple((kind, n / total) for kind, n in counts.most_common() if n)
        return Precision(shares, self.scheme())

    def scheme(self) -> str:
        if self.operators & DYNAMIC_OPS:
            return "dynamic"
        if self.operators & INTEGER_OPS or any(op.startswith("QLinear") for op in self.operators):
            return "QOperator"
        if "QuantizeLinear" in self.operators:
            return "QDQ"
        return "weight-only" if self.operators & {*BLOCK_OPS, "DequantizeLinear"} else ""


def summarise(path: Path) -> GraphSummary:
    """Read what an ONNX file says of itself.

    Raises:
        LoadFailed: the file cannot be read, or is not an ONNX model.
    """
    scan = _Summary()
    scan.read(path)
    external = tuple(scan.external[name] for name in sorted(scan.external))
    operators = frozenset(scan.operators)
    unranked = frozenset(scan.unranked)
    return GraphSummary(
        scan.precision(), external, unranked, operators, scan.bounds.broken(scan.ir_version)
    )


def check_external_files(summary: GraphSummary, folder: Path) -> None:
    """Make sure that every file that the graph names is inside the version's folder, and whole.

    Raises:
        LoadFailed: one is missing or too short, or a path or symbolic link leads outside.
    """
    for each in summary.external:
        # Shown as a literal: the name is from the file, and may hold anything.
        shown = f"external data {each.location!r:.200}"
        if leads_outside(folder, folder / each.location):
            raise LoadFailed(f"{shown} leads outside the folder of the version")
        found = _file_size(folder / each.location)
        if found is None:
            raise LoadFailed(f"{shown} is not in the folder of the version")
        if found < each.end:
            raise LoadFailed(
                f"{shown} has {found} bytes, tensor {each.tensor!r:.200} needs {each.end}:"
                " the file is cut short, or belongs to another model"
            )


def _file_size(path: Path) -> int | None:
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:  # such as a name that is too long for the file system
        return None


def external_entries(message: memoryview) -> list[tuple[str, str]]:
    """Where a tensor's data is, if in another file: all that it says of "location", "offset" and
    "length", which may be more than once."""
    found = []
    for number, value in fields(message):
        if number == 13:
            entry = {key: text(part) for key, part in fields(view(value))}
            found.append((entry.get(1, ""), entry.get(2, "")))
    return found


def _declaration(message: memoryview) -> tuple[str, bool]:
    """The name of an input or output; False where it is a tensor without a shape."""
    name, ranked = "", True
    for number, value in fields(message):
        if number == 1:
            name = text(value)
        elif number == 2:
            tensors = [view(part) for key, part in fields(view(value)) if key == 1]
            ranked = all(any(key == 2 for key, _ in fields(each)) for each in tensors)
    return name, ranked
