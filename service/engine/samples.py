"""Rows to try a model with: of its golden set where it has one, else made up to fit."""

from collections.abc import Iterator, Mapping

import numpy as np

from service.core.errors import QuantserveError
from service.core.tensors import Array, Arrays, Signature, TensorSpec
from service.engine.execution import Run

ROWS = 8
LENGTHS = (16, 8, 32, 64, 128, 224, 256, 1)
"""Tried in turn for symbolic axes of which nothing is known; 224 for images, 1 for odd graphs."""
INTEGER_RANGES = (64, 2)
"""Integers below the first could index most tables; those below the second index any."""


def single_rows(arrays: Arrays) -> list[Arrays]:
    """Up to eight rows, each a request of its own."""
    count = min(ROWS, *(len(array) for array in arrays))
    return [tuple(array[i : i + 1] for array in arrays) for i in range(count)]


def generated_rows(
    signature: Signature, dims: Mapping[str, int], run: Run
) -> tuple[list[Arrays], str]:
    """Rows that the graph runs on, found by trying; no rows and the last error where none was."""
    error = ""
    for length, high in _attempts(signature, dims):
        rng = np.random.default_rng(0)
        rows = [
            tuple(
                _values(spec, _shape(spec, dims, length), high, rng, i) for spec in signature.inputs
            )
            for i in range(ROWS)
        ]
        try:
            run(rows[0], None)
        except QuantserveError as failure:
            error = str(failure)
        else:
            return rows, ""
    return [], error


def _attempts(signature: Signature, dims: Mapping[str, int]) -> Iterator[tuple[int, int]]:
    free = any(
        not isinstance(dim, int) and dim not in dims
        for spec in signature.inputs
        for dim in spec.shape[1:]
    )
    for length in LENGTHS if free else LENGTHS[:1]:
        for high in INTEGER_RANGES:
            yield length, high


def _shape(spec: TensorSpec, dims: Mapping[str, int], length: int) -> tuple[int, ...]:
    lengths = [
        dim if isinstance(dim, int) else dims.get(dim or "", 1 if axis == 0 else length)
        for axis, dim in enumerate(spec.shape)
    ]
    return tuple(lengths)


def _values(
    spec: TensorSpec, shape: tuple[int, ...], high: int, rng: np.random.Generator, row: int
) -> Array:
    datatype = spec.datatype
    if datatype.name == "BYTES":
        return np.full(shape, "a", dtype=object)
    if datatype.kind == "boolean" or "mask" in spec.name.lower():
        return np.ones(shape, datatype.dtype)
    if datatype.kind == "integer":
        return rng.integers(0, high, shape).astype(datatype.dtype)
    # Each row has a range of its own: what takes its scale from the whole batch shows itself.
    values = (rng.standard_normal(shape) * 2.0 ** (row - 4)).astype(np.float32)
    if datatype.name == "BF16":
        return (values.view(np.uint32) >> 16).astype(np.uint16)
    return values.astype(datatype.dtype)
