"""The memory that a request takes, estimated from the part of its body that is known.

JSON becomes Python objects: an element has the parser's 16 bytes, a place in a list, and is an
object that may be larger than its text by far. Measured with orjson 3.13 on CPython 3.11, as the
peak of the process per byte of the body:

    [0.123456789,...]     5.0      ["ab",...]    18.6
    [1,1,1,...]          13.0      [[],[],...]   30.4
    [1.5,1.5,...]        15.0      [{},{},...]   30.4

Binary tensors are views of the body; what grows is a copy where they are not aligned, and one in
the batch.
"""

import numpy as np

from service.core.requests import InferRequest

LARGE = 64 * 1024
"""Smallest body or answer, in bytes, that is counted. Smaller ones are too many to be counted one
by one, and are held briefly."""
JSON_FACTOR = 8
"""Bytes of memory for each byte of a typical JSON body of numbers, before any of it has arrived."""
RAW_FACTOR = 3
STRINGS_FACTOR = 16
"""Bytes of memory for each byte of a binary body of strings. A string of two letters takes 6 bytes
in the body, and 96 as an object with its pointers."""
WEIGHTS = {
    ",": 72,  # the parser's entry, a float or an integer, its place in two lists
    "[": 96,
    "{": 240,
    '"': 28,  # half of a short string
    "\\": 16,  # what it takes to tell strings from tokens
}
"""Bytes of memory for each byte of JSON, by character."""
OTHERS = 2
"""Those of other bytes: itself and a copy. All are multiples of it."""
_TABLE = bytes(WEIGHTS.get(chr(byte), OTHERS) // OTHERS for byte in range(256))


def announced(length: int, raw: bool) -> int:
    """Bytes that a request with a body of ``length`` is taken to need before the body came."""
    return length * (RAW_FACTOR if raw else JSON_FACTOR)


def least(length: int, raw: bool) -> int:
    """The least bytes that a request with a body of ``length`` needs, for any content."""
    return length * (RAW_FACTOR if raw else OTHERS)


def weigh(part: bytes | bytearray, raw: bool) -> int:
    """Bytes that a part of a body needs, decoded: an upper bound of what was measured."""
    if raw:
        return len(part) * RAW_FACTOR
    # One table for all bytes: to count each of the five takes five times as long.
    units = np.frombuffer(part.translate(_TABLE), np.uint8)
    return int(units.sum(dtype=np.int64)) * OTHERS


def may_hold_strings(header: bytes | bytearray | memoryview) -> bool:
    r"""Whether the JSON part of a binary body may announce a tensor of strings: as ``"BYTES"``, or
    in escapes such as ``"\u0042YTES"``."""
    text = bytes(header) if isinstance(header, memoryview) else header
    return b"BYTES" in text or b"\\u" in text


def decoded(request: InferRequest, weight: int) -> int:
    """Bytes that the inputs of a request take, which needed ``weight`` to be decoded."""
    if any(tensor.array.dtype.hasobject for tensor in request.inputs):
        return weight
    # The arrays, and once more in the batch.
    return 2 * sum(tensor.array.nbytes for tensor in request.inputs)
