"""V1's values of one input: nested lists, whose nesting gives the shape. Pure.

A value a row may stand without a list around it where the model takes one. Rows of different
lengths are filled up where the model pads.
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
"""Values that an input may be filled up to in any case."""
FILLED_TIMES = 8
"""How many times what was sent it may be filled up to: memory is reserved by what was sent."""


def nested_tensor(spec: TensorSpec, values: list[Any], fill: float | None, pace: Paced) -> Tensor:
    """A tensor of rows. ``fill``: the value that fills up shorter rows, None where none does, as in
    ``Padding``; what is filled up to many values keeps to the ``pace``.

    Raises:
        MalformedRequest: the values are no such tensor.
    """
    shape = _shape(spec, values)
    if len(shape) == 1 and one_a_row(spec):
        shape += spec.shape[1:]  # type: ignore[arg-type]  # all of them are 1
    try:
        array = json_array(spec.name, spec.datatype, shape, values)
    except MalformedRequest:
        if type(values[0]) is not list or not spec.ranked:
            raise
        # Its rows have different lengths, or else the error is the same.
        array = _filled(spec, values, fill, pace)
    return Tensor(spec.name, spec.datatype, array)


def one_a_row(spec: TensorSpec) -> bool:
    """Whether a row of the input is one value."""
    return bool(spec.shape) and all([dim == 1 for dim in spec.shape[1:]])


def _shape(spec: TensorSpec, values: list[Any]) -> list[int]:
    """The lengths of the first list at each depth."""
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
    """A padded array of the rows; ``there`` is True for values, False for padding."""
    level, shape, there = values, [len(values)], np.ones(len(values), np.bool_)
    for dim in spec.shape[1:]:
        lengths = _lengths(spec, level, there)
        size = _common_length(spec, dim, lengths, fill, there)
        filled, most = prod(shape) * size, max(FILLED, FILLED_TIMES * sum(lengths))
        if filled > min(most, MAX_JSON_VALUES):
            raise MalformedRequest(
                f'input "{spec.name}" filled up to shape {[*shape, size]} has {filled} values,'
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
    """The length of an axis whose parts have these lengths."""
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
            " one length. Fill them up, send them one by one, or have the server fill them up:"
            f' [batching.padding] in model.toml with "{spec.name}" under values (where that is set,'
            " batching_note in the model's metadata says why it is not used)"
        )
    return max(lengths)


def _row(there: Array, place: int) -> int:
    return int(np.argwhere(there)[place][0])
