"""Padding of variable lengths to buckets, so that requests can share a run: which axes are padded
and cropped, and whether the model's answers stay the same.

A model that applies its attention mask returns the same answer for a padded row. A model that
ignores the mask would return wrong answers silently. So padded rows are compared with unpadded ones
at load.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from service.config.model import PaddingConfig
from service.core.batching import BatchPolicy
from service.core.errors import LoadFailed, QuantserveError
from service.core.padding import Padding
from service.core.tensors import Arrays, Datatype, Signature, TensorSpec
from service.engine.loading.deviation import Comparison
from service.engine.loading.probe import run_together
from service.engine.runtime.execution import Run

Shared = tuple[str, tuple[tuple[int, int], ...]]
SETTING = "model.toml: batching.padding"
MOST_TRIED = 16
"""The maximum number of buckets to try at load. A model that accepts texts may have several
hundred."""


def padding_for(config: PaddingConfig, signature: Signature) -> Padding:
    """Return the axes to pad and to crop. An axis of an output is cropped if it has the same
    symbolic name as a padded axis of an input.

    Raises:
        LoadFailed: the model has no such input, the input cannot hold the fill value, or an axis
            would be padded in one input but not in another.
    """
    names = [spec.name for spec in signature.inputs]
    for name in config.values:
        if name not in names:
            raise LoadFailed(f'{SETTING} names "{name}", which is no input')
    sources = {
        dim: (index, axis)
        for index, spec in enumerate(signature.inputs)
        for axis, dim in enumerate(spec.shape)
        if axis and isinstance(dim, str) and spec.name in config.values
    }
    for spec in signature.inputs:
        shared = [dim for dim in spec.shape[1:] if dim in sources]
        if shared and spec.name not in config.values:
            filled = f'"{names[sources[shared[0]][0]]}" but not "{spec.name}"'
            raise LoadFailed(f'{SETTING} names {filled}, which has the same length "{shared[0]}"')
    return Padding(
        tuple(sorted(config.buckets)),
        tuple(_fill(spec, config.values.get(spec.name)) for spec in signature.inputs),
        tuple(tuple(map(_varies, spec.shape[1:])) for spec in signature.inputs),
        tuple(
            tuple((axis, *sources[d]) for axis, d in enumerate(s.shape) if axis and d in sources)
            for s in signature.outputs
        ),
        tuple(_shared(signature, sources)),
    )


def _shared(signature: Signature, filled: Iterable[str]) -> Iterator[Shared]:
    for dim in filled:
        places = tuple(
            (index, axis)
            for index, spec in enumerate(signature.inputs)
            for axis, other in enumerate(spec.shape)
            if axis and other == dim
        )
        if len(places) > 1:
            yield dim, places


def _fill(spec: TensorSpec, value: float | None) -> float | None:
    if value is None:
        return None
    if not any(map(_varies, spec.shape[1:])):
        raise LoadFailed(f'{SETTING} names "{spec.name}", of which no axis varies: {spec}')
    if spec.datatype.name == "BF16":
        return float(np.float32(value).view(np.uint32) >> 16)
    if not _takes(spec.datatype, value):
        raise LoadFailed(f'{SETTING} fills "{spec.name}" with {value:g}, but it takes {spec}')
    return value


def _takes(datatype: Datatype, value: float) -> bool:
    if datatype.kind == "integer":
        range_ = np.iinfo(datatype.dtype)
        return value.is_integer() and range_.min <= value <= range_.max
    return datatype.kind == "number" or (datatype.kind == "boolean" and value in (0, 1))


def _varies(dim: object) -> bool:
    return not isinstance(dim, int)


def padding_deviation(
    run: Run, outputs: Sequence[TensorSpec], row: Arrays, padding: Padding
) -> float:
    """Return the largest difference between the answers of a padded row and of the same row
    unpadded, as a share of the output's largest value.

    For each bucket (at most ``MOST_TRIED``) the row is cut or repeated to two lengths: one that
    needs much padding and one that needs little. Both rows share a run.

    Raises:
        QuantserveError: the model cannot run rows padded to one of the buckets.
    """
    largest = 0.0
    for below, bucket in _some(list(pairwise((0, *padding.buckets)))):
        rows = [_with_length(row, length, padding) for length in _lengths(below, bucket)]
        filled = run_together(run, rows, BatchPolicy(padding=padding))
        for one, answers in zip(rows, filled, strict=True):
            try:
                bare = run(one, None)
            except QuantserveError:
                continue  # a length that runs only when padded
            largest = max(largest, Comparison(outputs, [bare]).largest([bare], [answers]))
    return largest


def _some(steps: Sequence[tuple[int, int]]) -> Sequence[tuple[int, int]]:
    """Return at most ``MOST_TRIED`` of the steps, including the first and the last."""
    if len(steps) <= MOST_TRIED:
        return steps
    apart = (len(steps) - 1) / (MOST_TRIED - 1)
    return [steps[round(place * apart)] for place in range(MOST_TRIED)]


def _lengths(below: int, bucket: int) -> tuple[int, int]:
    """Return two lengths in this bucket: one that needs much padding, and one that needs little."""
    return below + (bucket - below + 1) // 2, max(below + 1, bucket - 1)


def _with_length(row: Arrays, length: int, padding: Padding) -> Arrays:
    arrays = []
    for array, fill, varies in zip(row, padding.fills, padding.axes, strict=True):
        for axis, variable in enumerate(varies, start=1):
            if fill is not None and variable:
                array = array.take([i % array.shape[axis] for i in range(length)], axis)
        arrays.append(array)
    return tuple(arrays)
