"""Weights of forests, linear models and support vector machines. Their operators store the weights
as lists of numbers in attributes; other models store them as tensors.

Operators: https://github.com/onnx/onnx/blob/main/docs/Operators-ml.md
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from service.engine.onnx_file.protobuf import NUMBERS, encode, fields, text, view

DOMAIN = "ai.onnx.ml"
FLOAT, DOUBLE = 1, 11
"""onnx.proto, TensorProto.DataType."""
VARINT = rb"[\x80-\xff]{0,9}[\x00-\x7f]"
ALONE, PACKED = re.compile(rb"\x40(" + VARINT + rb")"), re.compile(VARINT)
"""An integer of an AttributeProto, field 8: with its tag, and without."""
AT_ONCE = 2**16
"""Bytes of packed integers that are read without a pause for other threads."""
OF_EACH_NODE = "nodes_treeids"
THRESHOLDS = ("nodes_values_as_tensor", "nodes_splits")
COEFFICIENTS = ("coefficients", "support_vectors")
MOST_TREES = 2**20


@dataclass(frozen=True, slots=True)
class Trees:
    """The number of trees, and of all their nodes, leaves included."""

    trees: int = 0
    nodes: int = 0

    def __add__(self, other: "Trees") -> "Trees":
        return Trees(self.trees + other.trees, self.nodes + other.nodes)

    def __bool__(self) -> bool:
        return bool(self.trees)


@dataclass(frozen=True, slots=True)
class Learned:
    """The weights of one operator: the count of ``numbers``, FP64 if ``double``, else FP32; and the
    trees."""

    numbers: int = 0
    double: bool = False
    trees: Trees = Trees()


def learned(operator: str, attributes: Iterable[memoryview]) -> Learned:
    """Count the weights in the attributes of a node of the domain ai.onnx.ml.

    Raises:
        WireError: the attributes cannot be read.
    """
    if operator.startswith("TreeEnsemble"):
        return _forest(attributes)
    if operator.startswith(("Linear", "SVM")):
        lists = (_floats(each) for each in attributes if _name(each) in COEFFICIENTS)
        return Learned(sum(lists))
    return Learned()


def _forest(attributes: Iterable[memoryview]) -> Learned:
    trees = nodes = 0
    double = False
    for each in attributes:
        name = _name(each)
        if name == OF_EACH_NODE:
            ids: set[bytes] = set()
            for values in _integers(each):
                nodes += len(values)
                if len(ids) < MOST_TREES:
                    ids.update(values)
            trees += len(ids)
        elif name == "tree_roots":
            trees += sum(map(len, _integers(each)))
        elif name in ("nodes_featureids", "leaf_targetids"):
            # TreeEnsemble has separate lists for branches and leaves. The older operators have one
            # list for both, which is counted above.
            nodes += sum(map(len, _integers(each))) if _has_roots(attributes) else 0
        elif name in THRESHOLDS:
            double = double or _datatype(each) == DOUBLE
    return Learned(nodes, double, Trees(trees, nodes))


def _has_roots(attributes: Iterable[memoryview]) -> bool:
    return any(_name(each) == "tree_roots" for each in attributes)


def _name(attribute: memoryview) -> str:
    return next((text(v) for number, v in fields(attribute, NUMBERS) if number == 1), "")


def _datatype(attribute: memoryview) -> int:
    """Return the datatype of the tensor in an attribute."""
    tensors = (view(value) for number, value in fields(attribute, NUMBERS) if number == 5)
    return next((v for t in tensors for n, v in fields(t) if n == 2 and isinstance(v, int)), 0)


def _floats(attribute: memoryview) -> int:
    """Count the floats of an attribute, single or packed."""
    count = 0
    for number, value in fields(attribute, NUMBERS):
        if number == 0:
            count += len(view(value)) // 5
        elif number == 7:
            count += len(view(value)) // 4
    return count


def _integers(attribute: memoryview) -> Iterator[list[bytes]]:
    """Yield lists of the encoded integers of an attribute, single or packed."""
    for number, value in fields(attribute, NUMBERS):
        if number == 0:
            yield ALONE.findall(view(value))
        elif number == 8 and isinstance(value, int):
            yield [encode(8, value)[1:]]
        elif number == 8:
            packed = view(value)
            for at in range(0, len(packed), AT_ONCE):
                yield PACKED.findall(packed, at, at + AT_ONCE)
