"""The values that inputs of a classical model may have, according to its encoders.

skl2onnx and onnxmltools write the categories of a column into a OneHotEncoder or LabelEncoder. Most
of these operators refuse any other value, so generated rows for such a model must use them.

Operators: https://github.com/onnx/onnx/blob/main/docs/Operators-ml.md
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from service.core.graph_limits import SIGN
from service.core.tensors import Categories, Category
from service.engine.onnx_file.protobuf import fields, integers, text, varint, view
from service.engine.onnx_file.scan import Node

LISTS = {
    "OneHotEncoder": ("cats_strings", "cats_int64s"),
    "CategoryMapper": ("cats_strings", "cats_int64s"),
    "LabelEncoder": ("keys_strings", "keys_int64s"),
}
"""By operator, the attributes with the values that it accepts."""
SAME = {"Identity", "Reshape", "Cast", "Flatten", "Squeeze", "Unsqueeze"}
SELECT = {"ArrayFeatureExtractor", "Gather"}
"""``SAME``: operators that pass their first input on. ``SELECT``: operators that select columns."""
MOST_VALUES = 8
"""Values of one column: as many as there are generated rows."""
MOST_BYTES = 256
"""Bytes of one value."""
MOST_STEPS = 32
MOST_COLUMNS = 4096
INT64 = 7
"""onnx.proto, TensorProto.DataType."""


class Encoders:
    """Collects encoders and the operators between them and the inputs. ``node`` and ``keep`` are
    called while a model is scanned."""

    def __init__(self) -> None:
        self._found: list[tuple[str, tuple[Category, ...]]] = []
        self._nodes: dict[str, Node] = {}
        self._indices: dict[str, int] = {}

    def node(self, node: Node) -> None:
        """Add a node of any kind."""
        if node.inputs and node.outputs and node.operator in SAME | SELECT | {"Concat"}:
            self._nodes[node.outputs[0]] = node

    def encoder(self, node: Node, attributes: Sequence[memoryview]) -> None:
        """Add a node of the domain ai.onnx.ml, with its attributes."""
        for each in attributes if node.inputs and node.operator in LISTS else ():
            if values := tuple(islice(_values(each, LISTS[node.operator]), MOST_VALUES)):
                self._found.append((node.inputs[0], values))

    def keep(self, name: str, datatype: int, dims: list[int], message: memoryview) -> None:
        """Add a constant tensor, which may be the index of a column that an operator selects."""
        if datatype == INT64 and dims in ([], [1]):
            for number, value in fields(message):
                if number == 9 and len(view(value)) == 8:
                    self._indices[name] = int.from_bytes(view(value), "little")
                elif number == 7:
                    self._indices[name] = sum(integers(value, 1))

    def categories(self) -> Mapping[str, Categories]:
        """Return the values of each column of the inputs that an encoder reads."""
        found: dict[str, dict[int | None, tuple[Category, ...]]] = {}
        for name, values in self._found:
            start, column = self._source(name)
            found.setdefault(start, {}).setdefault(column, values)
        return {name: _columns(columns) for name, columns in found.items()}

    def _source(self, name: str) -> tuple[str, int | None]:
        """Return the tensor from which a tensor is derived, and the column of it; None if it is not
        a single column."""
        column: int | None = None
        for _ in range(MOST_STEPS):
            node = self._nodes.get(name)
            if node is None:
                break
            if node.operator == "Concat":
                if column is None or column >= len(node.inputs):
                    break
                name, column = node.inputs[column], None
            else:
                if node.operator in SELECT and len(node.inputs) > 1:
                    column = self._indices.get(node.inputs[1])
                name = node.inputs[0]
        return name, column


def _columns(columns: Mapping[int | None, tuple[Category, ...]]) -> Categories:
    if None in columns:
        return (columns[None],)
    known = {at: values for at, values in columns.items() if at is not None and at < MOST_COLUMNS}
    return tuple(known.get(at, ()) for at in range(max(known, default=-1) + 1))


def _values(attribute: memoryview, names: Sequence[str]) -> Iterator[Category]:
    """Yield the values of an attribute that has one of these names. The converters always write the
    name before the values."""
    known = False
    for number, value in fields(attribute):
        if number == 1:
            known = text(value) in names
        elif not known:
            return
        elif number == 9 and len(view(value)) <= MOST_BYTES:
            yield bytes(view(value)).decode(errors="replace")
        elif number == 8 and isinstance(value, int):
            yield _signed(value)
        elif number == 8:
            packed, at = view(value), 0
            while at < len(packed):
                integer, at = varint(packed, at)
                yield _signed(integer)


def _signed(value: int) -> int:
    return value - 2 * SIGN if value >= SIGN else value
