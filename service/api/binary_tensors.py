"""Tensors as raw bytes: the protocol's binary tensor data, little-endian and row-major. Pure.

Arrays are views of the body wherever its alignment allows.
"""

from math import prod

import numpy as np

from service.api.json_tensors import Bytes, check_empty
from service.core.errors import MalformedRequest
from service.core.tensors import Array, Datatype, Tensor


def from_bytes(name: str, datatype: Datatype, shape: list[int], data: memoryview) -> Tensor:
    expected = prod(shape)
    if not expected:
        check_empty(name, shape)
    if datatype.name == "BYTES":
        return Tensor(name, datatype, _strings(name, shape, expected, data))
    if expected * datatype.size != len(data):
        raise MalformedRequest(
            f'input "{name}" has {len(data)} bytes,'
            f" {datatype} {shape} needs {expected * datatype.size}"
        )
    if datatype.name == "BOOL":
        return Tensor(name, datatype, (np.frombuffer(data, np.uint8) != 0).reshape(shape))
    array = np.frombuffer(data, datatype.dtype).reshape(shape)
    return Tensor(name, datatype, array if array.flags.aligned else array.copy())


def _strings(name: str, shape: list[int], expected: int, data: memoryview) -> Array:
    values: list[str] = []
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        if at + 4 + size > len(data):
            left = len(data) - at - 4
            what = f"has {size} bytes, {left} are left" if left >= 0 else "has no whole length"
            raise MalformedRequest(f'input "{name}": BYTES element {len(values)} {what}')
        values.append(utf8(data[at + 4 : at + 4 + size], name))
        at += 4 + size
    if len(values) != expected:
        raise MalformedRequest(
            f'input "{name}" has {len(values)} values, shape {shape} needs {expected}'
        )
    array = np.empty(expected, dtype=object)
    array[:] = values
    return array.reshape(shape)


def utf8(data: Bytes | memoryview, name: str) -> str:
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        raise MalformedRequest(f'input "{name}": a BYTES element is not UTF-8') from None


def to_bytes(tensor: Tensor) -> bytes:
    if tensor.datatype.name != "BYTES":
        return tensor.array.tobytes()
    values = [str(value).encode() for value in tensor.array.ravel()]
    return b"".join(part for v in values for part in (len(v).to_bytes(4, "little"), v))
