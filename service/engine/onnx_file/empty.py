"""Operators of ONNX Runtime that crash the process on a tensor without elements, found by tests.

They divide an integer by zero, or throw an exception in a thread without a handler. Neither can be
caught, so such inputs must be refused before the run.
"""

from collections.abc import Iterable, Set
from dataclasses import dataclass
from enum import Enum

from service.core.errors import InputRejected
from service.core.tensors import Array, show_shape


class Empty(Enum):
    """Kinds of inputs without elements, by the axes of length 0. Each kind includes the following
    ones."""

    ANY_AXIS = "any axis"
    NO_ROWS = "the first axis"
    NO_ROWS_AND_MORE = "the first axis and another one"

    def includes(self, shape: tuple[int, ...]) -> bool:
        """Return whether an array of this shape is of this kind."""
        if self is Empty.ANY_AXIS:
            return 0 in shape
        return shape[:1] == (0,) and (self is Empty.NO_ROWS or 0 in shape[1:])


FATAL = {
    Empty.ANY_AXIS: {"LSTM", "GRU", "DynamicQuantizeLSTM", "AttnLSTM"},
    # The cache of a decoder may be empty: it is empty at the first step.
    Empty.NO_ROWS: {"QAttention", "GroupQueryAttention", "SparseAttention", "FeatureVectorizer"},
    # Images need a height and a width. With 0 rows only, ONNX Runtime's kernels return early.
    Empty.NO_ROWS_AND_MORE: {"AveragePool", "MaxPool", "GlobalAveragePool", "GlobalMaxPool"},
}


@dataclass(frozen=True, slots=True)
class Fatal:
    """An operator of a graph, and the kind of inputs that must not reach it."""

    operator: str
    empty: Empty

    def check(self, arrays: Iterable[Array]) -> None:
        """Refuse inputs that would crash the process.

        Raises:
            InputRejected: an array is of the kind ``empty``.
        """
        for array in arrays:
            if 0 in array.shape and self.empty.includes(array.shape):
                raise InputRejected(
                    f"the model refuses an input without elements, {show_shape(array.shape)}:"
                    f" its operator {self.operator} cannot run on it"
                )


def fatal_operator(operators: Set[str]) -> Fatal | None:
    """Return the operator of a graph that accepts the fewest empty inputs; None if all operators
    accept any empty input."""
    for empty, names in FATAL.items():
        found = sorted(names & operators)
        if found:
            return Fatal(found[0], empty)
    return None
