"""Whether a model's inputs are one batch of rows, or each set of them is a run of its own.

Rows share their first axis: they can be cut apart, and joined to a batch. A run goes into the graph
as it was recorded: with state [2, batch, hidden], a scalar, or inputs whose first axes have nothing
to do with each other.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum

import numpy as np

from service.core.tensors import Array, Signature, TensorSpec


class Layout(StrEnum):
    """What a signature says of its inputs.

    ROWS      one batch: the same symbol, or 1, on the first axis of all
    RUNS      no batch: a scalar, a fixed first axis, or a batch on another axis
    APART     first axes of different symbols: a run each, but one archive may hold rows of pairs
    UNKNOWN   unnamed first axes, or 1 beside a symbol: the data tell
    """

    ROWS = "rows"
    RUNS = "runs"
    APART = "apart"
    UNKNOWN = "unknown"


def layout_of(signature: Signature) -> Layout:
    """What the file says; shapes are as ONNX Runtime shows them."""
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
    """Whether rows of such inputs may share a run, as far as the file tells."""
    rows = layout_of(signature) in (Layout.ROWS, Layout.UNKNOWN)
    return rows and not any(isinstance(spec.shape[0], int) for spec in signature.inputs)


def are_runs(feeds: Sequence[Mapping[str, Array]], signature: Signature) -> bool:
    """Whether each of the feeds is one run, rather than some rows."""
    layout = layout_of(signature)
    if layout is Layout.APART:
        return len(feeds) > 1 or not _share_a_first_axis(feeds, signature)
    if layout is Layout.UNKNOWN:
        return not _share_a_first_axis(feeds, signature)
    return layout is Layout.RUNS


def _has_no_rows(spec: TensorSpec) -> bool:
    """A scalar, a first axis of fixed length, or one that is not the one named after the batch."""
    if not spec.shape:
        return True
    first, *others = spec.shape
    if isinstance(first, int):
        return first != 1
    return not _says_batch(first) and any(map(_says_batch, others))


def _says_batch(dim: object) -> bool:
    return isinstance(dim, str) and "batch" in dim.lower()


def _share_a_first_axis(feeds: Sequence[Mapping[str, Array]], signature: Signature) -> bool:
    """True also if an array is missing or a scalar: the check of rows has the better message."""
    for feed in feeds:
        arrays = [(np.shape(feed[s.name]), s) for s in signature.inputs if s.name in feed]
        # One row may come without its first axis.
        counts = {shape[0] if len(shape) == len(s.shape) else 1 for shape, s in arrays if shape}
        if len(counts) > 1:
            return False
    return True
