"""Tensors in JSON: from lists of values to arrays and back, exactly. No I/O.

Every value is checked against its datatype: integers are never converted to double or wrapped, and
finite values never become infinite. null among floats is NaN, and 3.0 is the integer 3.
"""

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain
from math import inf, isfinite, nan, prod
from types import NoneType
from typing import Any

import numpy as np
import orjson

from service.api.protocol.byte_order import after_mark
from service.core.bfloat16 import from_bfloat16, to_bfloat16
from service.core.conversion import MANTISSA, limits
from service.core.datatypes import DATATYPES, Array, Datatype, wanted
from service.core.errors import MalformedRequest
from service.core.sizes import MAX_STRINGS, MAX_TEXT
from service.core.tensors import Tensor
from service.core.whereabouts import UNLABELLED, Labels, whereabouts

Bytes = bytes | bytearray
Buffer = bytes | bytearray | memoryview
MAX_RANK = 32
MAX_EMPTY = 2**24
"""The largest product of the other lengths of a shape with a 0: a model may create an output with
these lengths."""
INFINITY, MINUS_INFINITY = (np.array(x, "<f4").tobytes() for x in (np.inf, -np.inf))
JSON_TYPES: dict[str, frozenset[type]] = {
    "boolean": frozenset({bool}),
    "integer": frozenset({int}),
    "number": frozenset({int, float}),
    "string": frozenset({str}),
}
FORMATS = {
    "FP64": "d", "FP32": "f",
    "INT64": "q", "INT32": "i", "INT16": "h", "INT8": "b",
    "UINT64": "Q", "UINT32": "I", "UINT16": "H", "UINT8": "B",
}  # fmt: skip
"""The ``struct`` format of each datatype. ``struct`` refuses values of other types, except
booleans."""
EXACT = 2 ** MANTISSA["FP64"]
"""Up to this value, a number with a decimal point is exactly the integer that was written."""


class Misfit(Exception):  # noqa: N818 - reported as MalformedRequest with its place
    """A value at a place of the flat data does not fit its datatype."""

    def __init__(self, what: str, index: int) -> None:
        super().__init__(what)
        self.what, self.index = what, index


def parse_json(
    document: Bytes | memoryview, loads: Callable[[Bytes | memoryview], Any] = orjson.loads
) -> dict[str, Any]:
    """Return a JSON object, parsed by ``loads``. A UTF-8 byte order mark before it is ignored.

    Raises:
        MalformedRequest: the document is not a JSON object.
        MemoryError: orjson got no memory.
    """
    try:
        message = loads(document)
    except SystemError as error:  # orjson raises it if it gets no memory for an object
        raise MemoryError from error
    except orjson.JSONDecodeError as error:
        if str(error).startswith("Not enough memory"):
            raise MemoryError from None
        if (rest := after_mark(document)) is not None:
            return parse_json(rest, loads)
        if not document:
            raise MalformedRequest("the body is empty, expected a JSON object") from None
        raise MalformedRequest(f"the body is not JSON: {error}") from None
    if type(message) is not dict:
        raise MalformedRequest(f"the body is {kind(message)}, expected an object")
    return message


def has_booleans(document: Bytes) -> bool:
    """Return False if no value of a JSON document is a boolean."""
    return document.find(b"true") >= 0 or document.find(b"false") >= 0


def json_array(
    name: str,
    datatype: Datatype,
    shape: Sequence[int],
    data: Any,
    labels: Labels = UNLABELLED,
    booleans: bool = True,
) -> Array:
    """Return an array from JSON values, flat or nested as in the shape. ``labels`` are for errors.
    ``booleans``: see ``flat_array``.

    Raises:
        MalformedRequest: the number of values, the nesting or a value does not fit.
    """
    if type(data) is not list:
        raise MalformedRequest(f'input "{name}": "data" must be a list, got {kind(data)}')
    flat = data
    if data and type(data[0]) is list:
        flat = _flatten(name, shape, data)
    expected = prod(shape)
    if len(flat) != expected:
        raise MalformedRequest(
            f'input "{name}" has {len(flat)} values, shape {list(shape)} needs {expected}'
        )
    if not flat:
        check_empty(name, shape)
    try:
        return flat_array(datatype, flat, booleans).reshape(shape)
    except Misfit as misfit:
        where = whereabouts(shape, misfit.index, labels)
        raise MalformedRequest(f'input "{name}"{misfit.what} in {where}') from None


def flat_array(datatype: Datatype, flat: list[Any], booleans: bool = True) -> Array:
    """Return an array of one axis. ``booleans`` is False if no value is a boolean: then the types
    of numbers need not be checked before the conversion.

    Raises:
        Misfit: a value does not fit the datatype.
    """
    if not booleans and (array := _packed(datatype, flat)) is not None:
        return array
    if not set(map(type, flat)) <= JSON_TYPES[datatype.kind]:
        flat = _repaired(datatype, flat)
    if (array := _packed(datatype, flat)) is not None:
        return array
    if datatype.kind == "number":
        return _numbers(datatype, flat)
    try:
        return np.array(flat, datatype.dtype)
    except OverflowError:
        low, high = limits(datatype)
        index = next(i for i, value in enumerate(flat) if not low <= value <= high)
        what = f" takes {datatype}: {wanted(datatype)}, got {flat[index]}"
        raise Misfit(what, index) from None


def _packed(datatype: Datatype, flat: list[Any]) -> Array | None:
    """Return numbers as an array; None if one of them does not fit, or if ``struct`` has no format
    for the datatype. Booleans would become numbers.

    ``struct`` takes a third of numpy's time for a list.
    """
    format = FORMATS.get(datatype.name)
    if format is None:
        return None
    try:
        raw = _packer(format, len(flat)).pack(*flat)
    except (struct.error, OverflowError):
        return None
    # A search for the bytes of infinity is faster than a comparison of numbers. The bytes may also
    # be parts of other numbers. (``find``, because ``in`` tries an integer first.)
    if datatype.name == "FP32" and (raw.find(INFINITY) >= 0 or raw.find(MINUS_INFINITY) >= 0):
        return None
    return np.frombuffer(raw, datatype.dtype)


@lru_cache(maxsize=256)
def _packer(format: str, count: int) -> struct.Struct:
    return struct.Struct(f"{count}{format}")


def _repaired(datatype: Datatype, flat: list[Any]) -> list[Any]:
    """Convert values of other types: null among floats to NaN, because JSON has no NaN, and floats
    such as 3.0 among integers, because many clients write integers so. Other types are errors."""
    taken = JSON_TYPES[datatype.kind]
    if datatype.kind == "number":
        taken |= {NoneType}
    for index, value in enumerate(flat):
        if type(value) not in taken and not (datatype.kind == "integer" and is_whole(value)):
            what = f" takes {datatype}: {wanted(datatype)}, got {show(value)}"
            raise Misfit(what, index)
    if datatype.kind == "integer":
        return list(map(int, flat))
    return [nan if value is None else value for value in flat]


def is_whole(value: Any) -> bool:
    """Return True if a value is a float that is an integer, and exactly the integer that was
    written."""
    return type(value) is float and value.is_integer() and abs(value) <= EXACT


def check_empty(name: str, shape: Sequence[int]) -> None:
    """Refuse a shape without elements whose other lengths could still need a lot of memory."""
    if prod(length for length in shape if length) > MAX_EMPTY:
        raise MalformedRequest(f'input "{name}" has no elements, shape {list(shape)} is too large')


def check_strings(name: str, count: int, size: int) -> None:
    """Check the number of BYTES elements, and the bytes in them, against the limits of a request.

    Raises:
        MalformedRequest: there are too many elements or bytes.
    """
    if count > MAX_STRINGS:
        raise MalformedRequest(
            f'input "{name}" has {count} BYTES elements, at most {MAX_STRINGS} are allowed at once'
        )
    if size > MAX_TEXT:
        raise MalformedRequest(
            f'input "{name}" has {size} bytes of text, at most {MAX_TEXT} are allowed at once'
        )


def _numbers(datatype: Datatype, flat: list[Any]) -> Array:
    """Return numbers as an array of a float datatype.

    orjson refuses numbers that are too large for a double. So only narrower datatypes can be too
    small for a value: there, it becomes infinity. It is distinguished from infinity that was sent.
    """
    if datatype.name == "BF16":
        try:
            single = flat_array(DATATYPES["FP32"], flat, booleans=False)
            rounded, overflown = to_bfloat16(single)
        except Misfit as misfit:
            raise _too_large(datatype, flat, misfit.index) from None
        if overflown.any():
            raise _too_large(datatype, flat, int(np.argmax(overflown)))
        return rounded
    with np.errstate(over="ignore"):
        array: Array = np.array(flat, datatype.dtype)
    infinite = np.isinf(array)
    if infinite.any():
        overflown = infinite & np.isfinite(np.array(flat, np.float64))
        if overflown.any():
            raise _too_large(datatype, flat, int(np.argmax(overflown)))
    return array


def _too_large(datatype: Datatype, flat: list[Any], index: int) -> Misfit:
    return Misfit(f": {flat[index]} is too large for {datatype},", index)


def _flatten(name: str, shape: Sequence[int], data: list[Any]) -> list[Any]:
    level = [data]
    for axis, size in enumerate(shape):
        for part in level:
            if type(part) is not list or len(part) != size:
                raise _unlike(name, shape, axis, level)
        level = list(chain.from_iterable(level))
    return level


def _unlike(name: str, shape: Sequence[int], axis: int, level: list[Any]) -> MalformedRequest:
    """Return the error for the first part of nested data whose length is not that of the axis."""
    size, row = shape[axis], ""
    place = next(i for i, p in enumerate(level) if type(p) is not list or len(p) != size)
    part = level[place]
    if axis:
        row = f" in row {place // prod(shape[1:axis])}"
    came = f"{len(part)} values" if type(part) is list else kind(part)
    return MalformedRequest(
        f'input "{name}": nested data has {came} on axis {axis}{row}, shape {list(shape)}'
    )


def to_json(tensor: Tensor) -> Any:
    _, datatype, array = tensor
    if datatype.name == "BYTES":
        return array.ravel().tolist()
    if datatype.name == "BF16":
        return from_bfloat16(array).reshape(-1)
    return array.reshape(-1)


def kind(value: Any) -> str:
    """Return the type of a JSON value, with its article."""
    names = {bool: "a boolean", int: "an integer", float: "a number", str: "a string"}
    others = {list: "a list", type(None): "null"}
    return (names | others).get(type(value), "an object")


def show(value: Any) -> str:
    """Return a JSON value as text, if it is small enough to be shown; else its type."""
    if isinstance(value, str):
        return orjson.dumps(f"{value:.40}").decode()
    if isinstance(value, float) and not isfinite(value):
        return {inf: "Infinity", -inf: "-Infinity"}.get(value, "NaN")
    if isinstance(value, int | float):  # a boolean is an int too
        return orjson.dumps(value).decode()
    return kind(value)
