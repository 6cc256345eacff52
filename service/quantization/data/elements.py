"""Aligns outputs with labels, so that a metric can read both as arrays.

Rows of one shape are stacked. If runs differ in length, outputs and labels are aligned element by
element: a class for each token of a text, for each node of a graph, or for each run.
"""

from collections.abc import Sequence

import numpy as np

from service.core.tensors import Array, Arrays
from service.quantization.data.labels import apart, flat, varies

Answers = Sequence[Arrays]


def by_name(names: Sequence[str], answers: Answers) -> dict[str, Array]:
    """Return outputs [rows, ...] by name; an array of arrays if the rows' shapes differ."""
    return {name: stack([row[i] for row in answers]) for i, name in enumerate(names)}


def stack(arrays: Sequence[Array]) -> Array:
    """Return one array with rows on the first axis; an array of arrays if their shapes differ."""
    if len({array.shape for array in arrays}) > 1:
        return apart(arrays)
    return np.concatenate(arrays) if arrays[0].shape[:1] == (1,) else np.stack(arrays)


def values(arrays: Sequence[Array]) -> Array:
    """Return all values in one array: stacked by row if all rows have one shape; concatenated along
    the first axis if only its length differs; flattened otherwise."""
    if len({array.shape for array in arrays}) == 1:
        return stack(arrays)
    if all(array.ndim for array in arrays) and len({array.shape[1:] for array in arrays}) == 1:
        return np.concatenate(arrays)
    return np.concatenate([array.ravel() for array in arrays])


def beside(names: Sequence[str], answers: Answers, labels: Array) -> tuple[dict[str, Array], Array]:
    """Return outputs by name, and the labels to compare them with."""
    outputs = by_name(names, answers)
    if not varies(labels) and all(array.dtype != object for array in outputs.values()):
        return outputs, labels
    each = [np.ravel(label) for label in labels]
    wanted = np.concatenate(each)
    known = wanted >= 0 if _marks_unknown(each, wanted) else np.ones(len(wanted), bool)
    for i, name in enumerate(names):
        lined = _lined_up([row[i] for row in answers], each)
        if lined is not None:
            outputs[name] = lined[known]
    return outputs, flat(wanted)[known]


def _marks_unknown(each: Sequence[Array], labels: Array) -> bool:
    """Return True if negative labels mean "no label": integer labels, with several for a run."""
    return labels.dtype.kind == "i" and any(label.size > 1 for label in each)


def _lined_up(arrays: Sequence[Array], labels: Sequence[Array]) -> Array | None:
    """Return an output as [labels] or [labels, classes]; None if its size does not match the
    labels."""
    pairs = list(zip(arrays, labels, strict=True))
    if all(array.size == label.size for array, label in pairs):
        return np.concatenate([array.ravel() for array in arrays])
    for axis in (-1, 1):
        if all(a.ndim > axis and a.size == n.size * a.shape[axis] for a, n in pairs if a.ndim):
            moved = [np.moveaxis(a, axis, -1) for a in arrays]
            tables = [a.reshape(n.size, a.shape[-1]) for a, n in zip(moved, labels, strict=True)]
            return _padded(tables)
    return None


def _padded(tables: Sequence[Array]) -> Array | None:
    """Concatenate tables [labels, classes], padded to one width with -inf so that argmax never
    chooses the padding. Return None for integer tables of different widths."""
    width = max(table.shape[1] for table in tables)
    if all(table.shape[1] == width for table in tables):
        return np.concatenate(tables)
    if tables[0].dtype.kind != "f":
        return None
    padded = [
        np.pad(table, ((0, 0), (0, width - table.shape[1])), constant_values=-np.inf)
        for table in tables
    ]
    return np.concatenate(padded)
