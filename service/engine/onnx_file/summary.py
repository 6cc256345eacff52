"""Summary of an ONNX file: the precision of its weights, its quantization scheme, and its external
files. Read from the file without loading it and without the ``onnx`` package.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from service.core.bounded import Step
from service.core.errors import LoadFailed
from service.core.graph_limits import elements
from service.core.tensors import Categories
from service.engine.host.paths import leads_outside
from service.engine.onnx_file.bounds import Bounds
from service.engine.onnx_file.categories import Encoders
from service.engine.onnx_file.classical import Trees, learned
from service.engine.onnx_file.external import ExternalData, external_data, external_entries
from service.engine.onnx_file.opening import open_model
from service.engine.onnx_file.protobuf import text
from service.engine.onnx_file.scan import Node, Scan

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
"""Operators that compute an activation's scale at run time, over all rows together."""
PER_ROW = {"QuantizeLinear", "ReduceMax"}
"""Operators that compute the scale of each row and quantize with it."""
INTEGER_OPS = {"MatMulInteger", "MatMulIntegerToFloat", "ConvInteger", "QGemm", "QAttention"}
"""Operators with integer arithmetic on given scales."""
BLOCK_OPS = {"MatMulNBits": 1, "GatherBlockQuantized": 0}
"""Operators with weights of fewer than 8 bits packed into bytes, and the input that holds them."""
MAINLY = 0.9
"""If one format has at least this share of the weights, the other formats are not named."""


@dataclass(frozen=True, slots=True)
class Precision:
    """The share of the weights in each number format, largest first, and how they are quantized.

    ``scheme`` is "QDQ", "QOperator", "dynamic", "per-row" (dynamic, with a scale for each row),
    "weight-only", or "" for a graph in float.
    ``trees`` are the trees of its forests, if it has any.
    """

    shares: tuple[tuple[str, float], ...]
    scheme: str
    trees: Trees = Trees()

    @property
    def dynamic(self) -> bool:
        """True if activations get their scale from the whole tensor at run time."""
        return self.scheme == "dynamic"

    def __str__(self) -> str:
        """Such as "INT8 QDQ", "INT8 dynamic, 51 % FP32" or "100 trees, FP32, 5432 nodes"."""
        if not self.trees:
            return self._weights()
        some = "tree" if self.trees.trees == 1 else "trees"
        return f"{self.trees.trees} {some}, {self._weights()}, {self.trees.nodes} nodes"

    def _weights(self) -> str:
        if not self.shares:
            return "no weights"
        # Zero points are integers as well, but only a thousandth of the weights.
        integers = [each for each in self.shares if each[0] not in FLOATS and each[1] > 0.01]
        kind, share = (integers or self.shares)[0]
        text = f"{kind} {self.scheme}".rstrip()
        if share >= MAINLY:
            return text
        other, share = next(each for each in self.shares if each[0] != kind)
        return f"{text}, {100 * share:.0f} % {other}"


@dataclass(frozen=True, slots=True)
class GraphSummary:
    """Properties of a graph that are known before it is loaded.

    ``external`` has one entry for each file that the graph names, with the tensor that reaches
    furthest into it. ``unranked`` are the inputs and outputs that are declared without a shape,
    which is not the same as the shape of a scalar. ``operators`` are the operators of all nodes.
    ``unbounded`` describes a step whose time the shapes of the inputs do not bound; "" if there is
    none. ``categories`` are values that inputs may have, by the name of the input."""

    precision: Precision
    external: tuple[ExternalData, ...]
    unranked: frozenset[str] = frozenset()
    operators: frozenset[str] = frozenset()
    unbounded: str = ""
    categories: Mapping[str, Categories] = field(default_factory=dict)

    @property
    def external_files(self) -> tuple[str, ...]:
        """The names of the external files, sorted."""
        return tuple(each.location for each in self.external)


class _Summary(Scan):
    """A scan that collects the data of the summary."""

    def __init__(self) -> None:
        self.operators: set[str] = set()
        self.weights: list[tuple[str, str, int]] = []
        self.external: dict[str, ExternalData] = {}
        self.blocks: dict[str, int] = {}
        self.trees = Trees()
        self.unranked: set[str] = set()
        self.bounds = Bounds()
        self.encoders = Encoders()

    def visit(self, node: Node) -> None:
        self.operators.add(node.operator)
        self.encoders.node(node)
        self.bounds.visit(Step(node.domain, node.operator, node.inputs, node.outputs))
        place = BLOCK_OPS.get(node.operator)
        if place is not None and place < len(node.inputs):
            self.blocks[node.inputs[place]] = node.integers.get("bits") or 4

    def keep(self, name: str, datatype: int, dims: list[int], message: memoryview) -> None:
        for found in external_data(name, external_entries(message), datatype, dims):
            furthest = self.external.get(found.location, found)
            self.external[found.location] = max(furthest, found, key=lambda each: each.end)
        if datatype in WEIGHT_TYPES:
            self.weights.append((name, WEIGHT_TYPES[datatype], elements(dims)))
        self.bounds.keep(name)
        self.encoders.keep(name, datatype, dims, message)

    def classical(self, node: Node, attributes: Sequence[memoryview]) -> None:
        self.encoders.encoder(node, attributes)
        found = learned(node.operator, attributes)
        if found.numbers:
            self.weights.append(("", "FP64" if found.double else "FP32", found.numbers))
        self.trees += found.trees

    def entry(self, name: str) -> None:
        self.bounds.entry(name)

    def function(self, message: memoryview) -> None:
        parts = self._fields(message)
        names = {number: text(value) for number, value in parts if number in (1, 10)}
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
        return Precision(shares, self.scheme(), self.trees)

    def scheme(self) -> str:
        if self.operators & DYNAMIC_OPS:
            return "dynamic"
        if self.operators & {"MatMulInteger", "MatMulIntegerToFloat"} and self.operators >= PER_ROW:
            return "per-row"
        if self.operators & INTEGER_OPS or any(op.startswith("QLinear") for op in self.operators):
            return "QOperator"
        if "QuantizeLinear" in self.operators:
            return "QDQ"
        return "weight-only" if self.operators & {*BLOCK_OPS, "DequantizeLinear"} else ""


def summarise(path: Path) -> GraphSummary:
    """Summarise an ONNX file.

    Raises:
        LoadFailed: the file cannot be read, or is not an ONNX model.
    """
    with open_model(path) as file:
        model = memoryview(file.read())
    return summarise_model(model, path.name)


def summarise_model(model: memoryview, name: str) -> GraphSummary:
    """Summarise the bytes of a model; ``name`` is the name of its file.

    Raises:
        LoadFailed: it is not an ONNX model, or the graph is too large.
    """
    scan = _Summary()
    scan.read(model, name)
    external = tuple(scan.external[name] for name in sorted(scan.external))
    operators = frozenset(scan.operators)
    unranked = frozenset(scan.unranked)
    unbounded = scan.bounds.broken(scan.ir_version)
    categories = scan.encoders.categories()
    return GraphSummary(scan.precision(), external, unranked, operators, unbounded, categories)


def check_external_files(summary: GraphSummary, folder: Path) -> None:
    """Check that every file that the graph names is inside the version's folder, and complete.

    Raises:
        LoadFailed: a file is missing or too short, or a path or symbolic link leads outside.
    """
    for each in summary.external:
        # Shown as a literal: the name comes from the file, and may have any characters.
        shown = f"external data {each.location!r:.200}"
        if leads_outside(folder, folder / each.location):
            raise LoadFailed(f"{shown} leads outside the folder of the version")
        found = file_size(folder / each.location)
        if found is None:
            raise LoadFailed(f"{shown} is not in the folder of the version")
        if found < each.end:
            raise LoadFailed(
                f"{shown} has {found} bytes, tensor {each.tensor!r:.200} needs {each.end}:"
                " the file is cut short, or belongs to another model"
            )


def file_size(path: Path) -> int | None:
    """Return the size of a file in bytes; None if it does not exist."""
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:  # for example a name that is too long for the file system
        return None
