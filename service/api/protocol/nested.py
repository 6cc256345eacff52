"""V1's values of one input: nested lists, whose nesting defines the shape. No I/O.

If the model has one value per row, the value may be sent without a list around it. Rows of
different lengths are padded if the model has padding.
"""

from itertools import chain
from math import prod
from typing import Any

import numpy as np

from service.api.protocol.json_tensors import MAX_RANK, Misfit, flat_array, json_array, kind
from service.api.protocol.pace import Paced
from service.core.errors import MalformedRequest
from service.core.sizes import HERE_VALUES, MAX_JSON_VALUES
from service.core.tensors import Array, Tensor, TensorSpec
from service.core.whereabouts import whereabouts

FILLED = 2**17
"""An input may always be padded to this many values."""
FILLED_TIMES = 8
"""Beyond that, an input may be padded to this many times the number of values that were sent,
because memory is reserved by the number of values that were sent."""


def nested_tensor(spec: TensorSpec, values: list[Any], fill: float | None, pace: Paced) -> Tensor:
    """Return a tensor of rows. ``fill`` is the value that pads shorter rows; None for no padding,
    as in ``Padding``. Padding to many values calls ``pace``.

    Raises:
        MalformedRequest: the values do not fit the input.
    """
    shape = _shape(spec, values)
    if len(shape) == 1 and one_a_row(spec):
        shape += spec.shape[1:]  # type: ignore[arg-type]  # all of them are 1
    try:
        array = json_array(spec.name, spec.datatype, shape, values)
    except MalformedRequest:
        if type(values[0]) is not list or not spec.ranked:
            raise
        # The rows have different lengths; if not, this raises the same error.
        array = _filled(spec, values, fill, pace)
    return Tensor(spec.name, spec.datatype, array)


def one_a_row(spec: TensorSpec) -> bool:
    """Return True if a row of the input is one value."""
    return bool(spec.shape) and all([dim == 1 for dim in spec.shape[1:]])


def _shape(spec: TensorSpec, values: list[Any]) -> list[int]:
    """Return the length of the first list at each depth."""
    shape: list[int] = []
    level: Any = values
    while type(level) is list:
        if len(shape) == MAX_RANK:
            raise MalformedRequest(
                f'input "{spec.name}" takes {spec}, got lists nested more than {MAX_RANK} deep'
            )
        shape.append(len(level))
        level = level[0] if level else None
    return shape


def _filled(spec: TensorSpec, values: list[Any], fill: float | None, pace: Paced) -> Array:
    """Return the rows as a padded array; ``there`` is True for values, False for padding."""
    level, shape, there = values, [len(values)], np.ones(len(values), np.bool_)
    for dim in spec.shape[1:]:
        lengths = _lengths(spec, level, there)
        size = _common_length(spec, dim, lengths, fill, there)
        filled, most = prod(shape) * size, max(FILLED, FILLED_TIMES * sum(lengths))
        if filled > min(most, MAX_JSON_VALUES):
            raise MalformedRequest(
                f'input "{spec.name}" padded to shape {[*shape, size]} has {filled} values,'
                f" {sum(lengths)} were sent: send rows of similar lengths together"
            )
        if filled > HERE_VALUES:
            pace()
        counts = np.zeros(shape, np.int64)
        counts[there] = lengths
        there = np.arange(size) < counts[..., np.newaxis]
        shape.append(size)
        level = list(chain.from_iterable(level))
    array: Array = np.full(shape, 0 if fill is None else fill, spec.datatype.dtype)
    try:
        array[there] = flat_array(spec.datatype, level)
    except Misfit as misfit:
        where = whereabouts(shape, int(np.flatnonzero(there)[misfit.index]))
        raise MalformedRequest(f'input "{spec.name}"{misfit.what} in {where}') from None
    return array


def _lengths(spec: TensorSpec, level: list[Any], there: Array) -> list[int]:
    for place, part in enumerate(level):
        if type(part) is not list:
            raise MalformedRequest(
                f'input "{spec.name}" takes {spec}: expected a list, got {kind(part)}'
                f" in row {_row(there, place)}"
            )
    return list(map(len, level))


def _common_length(
    spec: TensorSpec, dim: object, lengths: list[int], fill: float | None, there: Array
) -> int:
    """Return the length of an axis whose parts have these lengths.

    Raises:
        MalformedRequest: the lengths differ, and the axis is fixed or cannot be padded.
    """
    first = dim if isinstance(dim, int) else lengths[0] if lengths else 0
    other = next((place for place, length in enumerate(lengths) if length != first), None)
    if other is None:
        return first
    came = f"row {_row(there, other)} has {lengths[other]}"
    what = f'input "{spec.name}" takes {spec}:'
    if isinstance(dim, int):
        raise MalformedRequest(f"{what} {came} values, expected {first}")
    if fill is None:
        raise MalformedRequest(
            f"{what} row {_row(there, 0)} has {first} values, {came}; the rows of a request need"
            " the same length. Pad them, send them one by one, or let the server pad them: set"
            f' [batching.padding] in model.toml with "{spec.name}" under values (if it is set,'
            " batching_note in the model's metadata says why it is not used)"
        )
    return max(lengths)


def _row(there: Array, place: int) -> int:
    return int(np.argwhere(there)[place][0])
