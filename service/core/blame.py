"""Finds the input that probably made a graph refuse a request, from the text of the error."""

import re
from collections.abc import Iterator

import numpy as np

from service.core.tensors import Array, Arrays, Signature, TensorSpec, show_shape

INDEX = re.compile(
    r"(?:idx|ind(?:ex|ice)|value|axis|length)\s*(?:=|:|is)?\s*(-?\d+)|got:?\s*(-\d+)"
)
"""A value, in the forms in which operators write it."""
RANGE = re.compile(r"range \[-?\d+, ?(\d+)([])])")
BROADCAST = re.compile(r"(\d+) by (\d+)")
NUMBER = re.compile(r"-?\d+")
MOST_NAMED = 4


def blamed(signature: Signature, arrays: Arrays, error: str) -> str:
    """Describe the inputs that match the error: those that hold a value named in it, else those
    with a variable axis whose length fits it, else the shapes of all inputs.

    ``error`` is the text without names, so that each number in it is a value or a length.
    """
    inputs = list(zip(signature.inputs, arrays, strict=False))
    said = INDEX.search(error)
    index = int(said[1] or said[2]) if said else None
    found = [] if index is None else list(_holding(inputs, index))
    if not found:
        found = list(_long(inputs, signature, error, index))
    if not found:
        found = [f'input "{s.name}" is {s.datatype} {show_shape(a.shape)}' for s, a in inputs]
    more = [f"and {len(found) - MOST_NAMED} more"] if len(found) > MOST_NAMED else []
    return ", ".join([*found[:MOST_NAMED], *more])


def _holding(inputs: list[tuple[TensorSpec, Array]], value: int) -> Iterator[str]:
    """Yield the integer inputs that hold a value, with its first position."""
    for spec, array in inputs:
        if spec.datatype.kind != "integer":
            continue
        places = np.flatnonzero(array.reshape(-1) == value)
        if places.size:
            at = [int(each) for each in np.unravel_index(int(places[0]), array.shape)]
            yield f'input "{spec.name}" holds {value} at {at}'


def _long(
    inputs: list[tuple[TensorSpec, Array]], signature: Signature, error: str, index: int | None
) -> Iterator[str]:
    """Yield the variable axes whose length the error names, or that are longer than the index."""
    numbers = {int(each) for each in NUMBER.findall(error)}
    for spec, array in inputs:
        for axis, length in enumerate(array.shape):
            fixed = axis < len(spec.shape) and isinstance(spec.shape[axis], int)
            if fixed or (axis == 0 and signature.has_rows):
                continue
            if length in numbers or (index is not None and 0 <= index < length):
                yield f'input "{spec.name}" has {length} on axis {axis}{_fitting(error, length)}'


def _fitting(error: str, length: int) -> str:
    """Return the length that would fit, if the error states it, else an empty text."""
    broadcast, reach = BROADCAST.search(error), RANGE.search(error)
    if broadcast and length in (sides := [int(each) for each in broadcast.groups()]):
        other = sides[1 - sides.index(length)]
        return f", {other} would fit" if other > 1 else ""
    return f", at most {int(reach[1]) + (reach[2] == ']')} would fit" if reach else ""
