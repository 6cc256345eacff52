"""Converts tensors whose values are in typed fields of a message to arrays."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from service.api.protocol.binary_tensors import utf8
from service.api.protocol.json_tensors import check_empty, check_strings
from service.core.datatypes import Array, Datatype, wanted
from service.core.errors import MalformedRequest
from service.core.whereabouts import UNLABELLED, whereabouts

FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""The field with the values of each datatype. FP16 and BF16 have no field: they are sent raw."""


def has_contents(tensor: Any) -> bool:
    """Return True if an input has values in typed fields."""
    return tensor.HasField("contents") and bool(tensor.contents.ListFields())


def array_of(tensor: Any, datatype: Datatype, shape: Sequence[int]) -> Array:
    """Return the values of an input.

    Raises:
        MalformedRequest: the number of values does not match the shape, the values are in the field
            of another datatype, or they are out of the datatype's range.
    """
    name, field = tensor.name, FIELDS.get(datatype.name)
    if field is None:
        raise MalformedRequest(
            f'input "{name}": {datatype} has no typed contents, send it in "raw_input_contents"'
        )
    others = [found.name for found, _ in tensor.contents.ListFields() if found.name != field]
    if others:
        raise MalformedRequest(
            f'input "{name}" of {datatype} has values in "{others[0]}", expected "{field}"'
        )
    found, expected = getattr(tensor.contents, field), prod(shape)
    if len(found) != expected:
        raise MalformedRequest(
            f'input "{name}" has {len(found)} values in "{field}", shape {list(shape)} needs'
            f" {expected}"
        )
    if not expected:
        check_empty(name, shape)
    if datatype.name == "BYTES":
        check_strings(name, expected, sum(map(len, found)))
        array = np.empty(expected, dtype=object)
        array[:] = [utf8(each, name) for each in found]
        return array.reshape(shape)
    return _numbers(name, datatype, found, shape)


def _numbers(name: str, datatype: Datatype, found: Any, shape: Sequence[int]) -> Array:
    """Return numbers as an array. Integers of less than 32 bits are in a field of 32 bits."""
    narrow = datatype.kind == "integer" and datatype.size < 4
    wide = np.array(found, np.int64 if narrow else datatype.dtype)
    if narrow:
        limits = np.iinfo(datatype.dtype)
        misfits = (wide < limits.min) | (wide > limits.max)
        if misfits.any():
            place = int(misfits.argmax())
            where = whereabouts(shape, place, UNLABELLED)
            raise MalformedRequest(
                f'input "{name}" takes {datatype}: {wanted(datatype)}, got {wide[place]} in {where}'
            )
    return wide.astype(datatype.dtype, copy=False).reshape(shape)
