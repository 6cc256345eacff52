"""Decides whether a model's inputs are a batch of rows, or each set of inputs is a run.

Rows share their first axis: a batch can be split into rows, and rows can be joined into a batch. A
run is passed to the graph as recorded: with state [2, batch, hidden], a scalar, or inputs whose
first axes are unrelated.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum

import numpy as np

from service.core.tensors import Array, Signature, TensorSpec


class Layout(StrEnum):
    """The layout of a signature's inputs.

    ROWS      one batch: all inputs have the same symbol, or 1, as their first dimension
    RUNS      no batch: a scalar, a fixed first axis, or the batch on another axis
    APART     different symbols as first dimensions: runs, or a single archive of paired rows
    UNKNOWN   unnamed first dimensions, or 1 and a symbol: the data decide
    """

    ROWS = "rows"
    RUNS = "runs"
    APART = "apart"
    UNKNOWN = "unknown"


def layout_of(signature: Signature) -> Layout:
    """Return the layout that the signature declares, with shapes as ONNX Runtime reports them."""
    inputs = signature.inputs
    if not inputs or any(_has_no_rows(spec) for spec in inputs):
        return Layout.RUNS
    firsts = {spec.shape[0] for spec in inputs}
    if len({dim for dim in firsts if isinstance(dim, str)}) > 1:
        return Layout.APART
    if len(firsts) == 1 and (firsts != {None} or len(inputs) == 1):
        return Layout.ROWS
    return Layout.UNKNOWN


def joins(signature: Signature) -> bool:
    """Return True if rows may be batched, judged by the signature."""
    rows = layout_of(signature) in (Layout.ROWS, Layout.UNKNOWN)
    return rows and not any(isinstance(spec.shape[0], int) for spec in signature.inputs)


def are_runs(feeds: Sequence[Mapping[str, Array]], signature: Signature) -> bool:
    """Return True if each of the feeds is one run, False if each contains rows."""
    layout = layout_of(signature)
    if layout is Layout.APART:
        return len(feeds) > 1 or not _share_a_first_axis(feeds, signature)
    if layout is Layout.UNKNOWN:
        return not _share_a_first_axis(feeds, signature)
    return layout is Layout.RUNS


def _has_no_rows(spec: TensorSpec) -> bool:
    """Return True if an input has no batch on its first axis: it is a scalar, the first axis has a
    fixed length other than 1, or only another axis is named after the batch."""
    if not spec.shape:
        return True
    first, *others = spec.shape
    if isinstance(first, int):
        return first != 1
    return not _says_batch(first) and any(map(_says_batch, others))


def _says_batch(dim: object) -> bool:
    return isinstance(dim, str) and "batch" in dim.lower()


def _share_a_first_axis(feeds: Sequence[Mapping[str, Array]], signature: Signature) -> bool:
    """Return True if the arrays of each feed have the same number of rows."""
    for feed in feeds:
        # Missing arrays and scalars are skipped here: ``rows_of`` reports them more clearly.
        arrays = [(np.shape(feed[s.name]), s) for s in signature.inputs if s.name in feed]
        # A single row may omit its first axis.
        counts = {shape[0] if len(shape) == len(s.shape) else 1 for shape, s in arrays if shape}
        if len(counts) > 1:
            return False
    return True
