"""The difference between two sets of answers, as a share of the largest value of each output."""

from collections.abc import Sequence
from math import inf

import numpy as np

from service.core.non_finite import differs, without
from service.core.tensors import Array, Arrays, TensorSpec


class Comparison:
    """Compares answers of the same model.

    For numbers the deviation is the largest difference, divided by the largest value of the output
    in ``examples``. For labels (integers of 32 bits or more, strings, booleans) it is the share of
    elements that differ.
    """

    def __init__(self, outputs: Sequence[TensorSpec], examples: Sequence[Arrays]) -> None:
        self._bfloat16 = [spec.datatype.name == "BF16" for spec in outputs]
        columns = zip(*(self._numbers(answers) for answers in examples), strict=True)
        self._scales = [_scale(column) for column in columns]

    def largest(self, expected: Sequence[Arrays], got: Sequence[Arrays]) -> float:
        """Return the largest deviation of any output of any answer; infinite if shapes differ."""
        return max(map(self._largest, expected, got), default=0.0)

    def _largest(self, expected: Arrays, got: Arrays) -> float:
        pairs = zip(self._numbers(expected), self._numbers(got), self._scales, strict=True)
        return max(_difference(*pair) for pair in pairs)

    def _numbers(self, answers: Arrays) -> Arrays:
        return tuple(map(_from_bfloat16, answers, self._bfloat16))


def _from_bfloat16(array: Array, is_bfloat16: bool) -> Array:
    return (array.astype(np.uint32) << 16).view(np.float32) if is_bfloat16 else array


def _is_number(array: Array) -> bool:
    return array.dtype.kind == "f" or (array.dtype.kind in "iu" and array.dtype.itemsize <= 2)


def _scale(column: Sequence[Array]) -> float:
    if not _is_number(column[0]):
        return 1.0
    finite = (np.abs(array[np.isfinite(array)].astype(np.float64)) for array in column)
    return max((float(values.max()) for values in finite if values.size), default=0.0) or 1.0


def _difference(want: Array, got: Array, scale: float) -> float:
    if want.shape != got.shape:
        return inf
    if not _is_number(want):
        return float(np.mean(want != got)) if want.size else 0.0
    if np.array_equal(want, got):
        return 0.0
    if want.dtype.kind == "f" and differs(got, want).any():
        return inf
    special = ~np.isfinite(want)
    with np.errstate(over="ignore"):
        a, b = without(want, special) / scale, without(got, special) / scale
        return float(np.abs(a - b).max(initial=0.0))
