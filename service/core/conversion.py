"""Conversion of numbers between datatypes, with no loss except rounding. Pure.

JSON has only one type of number, whatever datatype the client declared. An integer may be rounded
to a float. A float becomes an integer only if the integer has exactly the same value.
"""

from typing import Any

import numpy as np

from service.core.bfloat16 import from_bfloat16, to_bfloat16
from service.core.datatypes import DATATYPES, Array, Datatype, wanted
from service.core.errors import SignatureMismatch
from service.core.whereabouts import whereabouts

NUMBERS = frozenset({"integer", "number"})
MANTISSA = {"BF16": 8, "FP16": 11, "FP32": 24, "FP64": 53}
"""Bits of the mantissa: a float represents every integer up to 2 to this power exactly."""


def is_number(*datatypes: Datatype) -> bool:
    """Return whether all of these datatypes are integers or floats."""
    return all(datatype.kind in NUMBERS for datatype in datatypes)


def converted(name: str, given: Datatype, taken: Datatype, array: Array) -> Array:
    """Convert the array of input ``name`` from datatype ``given`` to ``taken``. The shape stays.

    Raises:
        SignatureMismatch: a value does not fit; the message has its position.
    """
    numbers = from_bfloat16(array) if given.name == "BF16" else array
    if taken.kind == "number":
        return _to_floats(name, taken, numbers)
    low, high = limits(taken)
    if given.kind == "number":
        most = 2.0 ** MANTISSA[given.name]
        # Doubles hold all values that are compared here exactly; NaN fails each comparison.
        doubles = numbers.astype(np.float64, copy=False)
        fits = (doubles == np.trunc(doubles)) & (np.abs(doubles) <= most)
        fits &= (doubles >= low) & (doubles <= high)
    else:
        fits = (numbers >= low) & (numbers <= high)
    if not fits.all():
        value, where = _first(numbers, ~fits)
        raise SignatureMismatch(
            f'input "{name}" takes {taken}: {wanted(taken)}, got {value!r} in {where}'
        )
    return numbers.astype(taken.dtype)


def limits(datatype: Datatype) -> tuple[int, int]:
    """Return the lowest and the highest value of an integer datatype."""
    info = np.iinfo(datatype.dtype)
    return int(info.min), int(info.max)


def _to_floats(name: str, taken: Datatype, numbers: Array) -> Array:
    if taken.name == "BF16":
        single = _to_floats(name, DATATYPES["FP32"], numbers)
        result, overflown = to_bfloat16(single)
    else:
        with np.errstate(over="ignore"):
            result = numbers.astype(taken.dtype)
        overflown = np.isinf(result) & np.isfinite(numbers)
    if overflown.any():
        value, where = _first(numbers, overflown)
        raise SignatureMismatch(f'input "{name}": {value!r} is too large for {taken}, in {where}')
    return result


def _first(numbers: Array, wrong: Array) -> tuple[Any, str]:
    """Return the first wrong value, and its position as text."""
    index = int(np.argmax(wrong))
    return numbers.reshape(-1)[index].item(), whereabouts(numbers.shape, index)
