"""Operators of ONNX Runtime that end the process when a tensor has no element; found by trying.

An integer is divided by the number of rows there, or an exception leaves a thread that nobody
watches. Neither can be caught, so that such inputs must not reach the graph.
"""

from collections.abc import Set
from dataclasses import dataclass

from service.core.errors import InputRejected
from service.core.tensors import Arrays, show_shape

WITHOUT_ELEMENTS = {"LSTM", "GRU", "DynamicQuantizeLSTM", "AttnLSTM"}
WITHOUT_ROWS = {"QAttention", "GroupQueryAttention", "SparseAttention"}
"""Only the first axis counts: the cache of a decoder is empty at its first step."""


@dataclass(frozen=True, slots=True)
class Fatal:
    """An operator that must not see inputs without elements, or only none without rows."""

    operator: str
    rows_only: bool

    def check(self, arrays: Arrays) -> None:
        """Let nothing pass that would end the process.

        Raises:
            InputRejected: an array has no element, or no row.
        """
        for array in arrays:
            if 0 in (array.shape[:1] if self.rows_only else array.shape):
                raise InputRejected(
                    f"the model refuses an input without elements, {show_shape(array.shape)}:"
                    f" its operator {self.operator} cannot run on it"
                )


def fatal_operator(operators: Set[str]) -> Fatal | None:
    """The operator of a graph that bears least, if there is one."""
    for names, rows_only in ((WITHOUT_ELEMENTS, False), (WITHOUT_ROWS, True)):
        found = sorted(names & operators)
        if found:
            return Fatal(found[0], rows_only)
    return None
