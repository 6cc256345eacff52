"""Tensors as raw bytes: the protocol's binary tensor data, little-endian and row-major. No I/O.

Arrays are views of the body if its alignment allows it.
"""

from collections.abc import Sequence
from math import prod

import numpy as np

from service.api.protocol.json_tensors import Bytes, check_empty
from service.api.protocol.pace import EVERY, Paced, go_on
from service.core.errors import MalformedRequest
from service.core.sizes import HERE_BYTES, HERE_COPY
from service.core.tensors import Array, Datatype, Tensor


def from_bytes(
    name: str, datatype: Datatype, shape: Sequence[int], data: memoryview, pace: Paced = go_on
) -> Tensor:
    """Return a tensor of this shape from its bytes. Long work calls ``pace`` regularly.

    Raises:
        MalformedRequest: the bytes do not match the datatype and the shape.
    """
    expected = prod(shape)
    if not expected:
        check_empty(name, shape)
    if datatype.name == "BYTES":
        return Tensor(name, datatype, _strings(name, shape, expected, data, pace))
    if expected * datatype.size != len(data):
        raise MalformedRequest(
            f'input "{name}" has {len(data)} bytes,'
            f" {datatype} {list(shape)} needs {expected * datatype.size}"
        )
    if datatype.name == "BOOL":
        if len(data) > HERE_COPY:
            pace()
        return Tensor(name, datatype, (np.frombuffer(data, np.uint8) != 0).reshape(shape))
    array = np.frombuffer(data, datatype.dtype).reshape(shape)
    if array.flags.aligned:
        return Tensor(name, datatype, array)
    if len(data) > HERE_COPY:
        pace()
    return Tensor(name, datatype, array.copy())


def _strings(
    name: str, shape: Sequence[int], expected: int, data: memoryview, pace: Paced
) -> Array:
    if len(data) > HERE_BYTES:
        pace()
    array = np.empty(expected, dtype=object)
    at = count = 0
    while at < len(data):
        values: list[str] = []
        while at < len(data) and len(values) < EVERY:
            end = _end_of(name, count + len(values), data, at)
            values.append(utf8(data[at + 4 : end], name))
            at = end
        if count + len(values) <= expected:
            array[count : count + len(values)] = values
        count += len(values)
        if at < len(data):
            if count > expected:
                raise MalformedRequest(
                    f'input "{name}" has more than {count} values,'
                    f" shape {list(shape)} needs {expected}"
                )
            pace()
    if count != expected:
        raise MalformedRequest(
            f'input "{name}" has {count} values, shape {list(shape)} needs {expected}'
        )
    return array.reshape(shape)


def _end_of(name: str, place: int, data: memoryview, at: int) -> int:
    """Return the end of the BYTES element that begins at ``at``."""
    size = int.from_bytes(data[at : at + 4], "little")
    end = at + 4 + size
    if end > len(data):
        left = len(data) - at - 4
        what = f"has {size} bytes, {left} are left" if left >= 0 else "has an incomplete length"
        raise MalformedRequest(f'input "{name}": BYTES element {place} {what}')
    return end


def utf8(data: Bytes | memoryview, name: str) -> str:
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        raise MalformedRequest(f'input "{name}": a BYTES element is not UTF-8') from None


def to_bytes(tensor: Tensor, pace: Paced = go_on) -> Bytes | memoryview:
    """Return a tensor's bytes. A large array is not copied."""
    _, datatype, array = tensor
    if datatype.name == "BYTES":
        return packed(array, pace)
    if array.nbytes > HERE_BYTES:
        return np.ascontiguousarray(array).reshape(-1).data.cast("B")
    return array.tobytes()


def packed(array: Array, pace: Paced = go_on) -> Bytes:
    """Return strings as the protocol's BYTES elements."""
    flat, whole = array.ravel(), bytearray()
    for start in range(0, len(flat), EVERY):
        values = [str(value).encode() for value in flat[start : start + EVERY].tolist()]
        whole += b"".join([part for v in values for part in (len(v).to_bytes(4, "little"), v)])
        pace()
    return whole
