"""Joins the rows of several requests for one run, and splits the outputs between the requests."""

from typing import Any

import numpy as np

from service.core.batching import Entry
from service.core.errors import ExecutionFailed
from service.core.padding import Padding
from service.core.tensors import Array, Arrays


def assemble(entries: tuple[Entry[Any], ...], padding: Padding | None) -> tuple[Arrays, float]:
    """Return one array per input with the rows of all entries, and the share of elements that are
    padding.

    A single entry that needs no padding is passed on without a copy.
    """
    inputs = range(len(entries[0].arrays))
    if padding is None:
        if len(entries) == 1:
            return entries[0].arrays, 0.0
        return tuple(np.concatenate([e.arrays[i] for e in entries]) for i in inputs), 0.0
    arrays = tuple(_fill(entries, i, padding) for i in inputs)
    total = sum(array.size for array in arrays)
    real = sum(array.size for entry in entries for array in entry.arrays)
    return arrays, 1.0 - real / total if total else 0.0


def _fill(entries: tuple[Entry[Any], ...], index: int, padding: Padding) -> Array:
    value, shape = padding.fills[index], entries[0].key.shapes[index]
    if padding.tight:
        shapes = [entry.arrays[index].shape[1:] for entry in entries]
        shape = tuple([max(lengths) for lengths in zip(*shapes, strict=True)])
    if value is None or all(e.arrays[index].shape[1:] == shape for e in entries):
        arrays = [e.arrays[index] for e in entries]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    rows = sum(e.rows for e in entries)
    whole = np.full((rows, *shape), value, entries[0].arrays[index].dtype)
    start = 0
    for entry in entries:
        array = entry.arrays[index]
        region = (slice(start, start + entry.rows), *(slice(n) for n in array.shape[1:]))
        whole[region] = array
        start += entry.rows
    return whole


def split(
    entries: tuple[Entry[Any], ...], outputs: Arrays, padding: Padding | None
) -> list[Arrays]:
    """Split the outputs of a run into the rows of each entry: views, not copies.

    Raises:
        ExecutionFailed: an output does not have one row for each input row.
    """
    rows = sum([entry.rows for entry in entries])
    for index, output in enumerate(outputs):
        if not output.shape or output.shape[0] != rows:
            raise ExecutionFailed(
                f"output {index} has shape {list(output.shape)} for a batch of {rows} rows"
            )
    parts = [outputs] if len(entries) == 1 else _slices(entries, outputs)
    if padding is not None:
        parts = [_cut(e, part, padding) for e, part in zip(entries, parts, strict=True)]
    return parts


def _slices(entries: tuple[Entry[Any], ...], outputs: Arrays) -> list[Arrays]:
    parts: list[Arrays] = []
    start, first = 0, outputs[0] if len(outputs) == 1 else None
    for entry in entries:
        stop = start + entry.rows
        if first is not None:  # a comprehension takes twice as long
            parts.append((first[start:stop],))
        else:
            parts.append(tuple([output[start:stop] for output in outputs]))
        start = stop
    return parts


def _cut(entry: Entry[Any], outputs: Arrays, padding: Padding) -> Arrays:
    chosen = entry.key.outputs or range(len(outputs))
    result = []
    for place, output in zip(chosen, outputs, strict=True):
        for axis, source, source_axis in padding.cuts[place]:
            length = entry.arrays[source].shape[source_axis]
            output = output[(slice(None),) * axis + (slice(length),)]
        result.append(output)
    return tuple(result)
