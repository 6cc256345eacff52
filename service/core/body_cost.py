"""The memory that a request needs, estimated from the part of its body that has arrived.

JSON becomes Python objects. An element needs 16 bytes in the parser, a place in a list, and an
object that may be much larger than its text. Measured with orjson 3.13 on CPython 3.11, as the
peak memory of the process per byte of the body:

    [0.123456789,...]     5.0      ["ab",...]    18.6
    [1,1,1,...]          13.0      [[],[],...]   30.4
    [1.5,1.5,...]        15.0      [{},{},...]   30.4

Binary tensors are views of the body. They need more memory for a copy if they are not aligned, and
for a copy in the batch.
"""

import numpy as np

from service.core.requests import InferRequest

LARGE = 64 * 1024
"""Smallest body or answer, in bytes, that is counted. Smaller ones are too numerous to count each,
and are in memory for a short time only."""
JSON_FACTOR = 8
"""Bytes of memory for each byte of a typical JSON body of numbers: the estimate before any of the
body has arrived."""
RAW_FACTOR = 3
STRINGS_FACTOR = 16
"""Bytes of memory for each byte of a binary body of strings. A string of two letters takes 6 bytes
in the body, and 96 as an object with its pointers."""
WEIGHTS = {
    ",": 72,  # the parser's entry, a float or an integer, its place in two lists
    "[": 96,
    "{": 240,
    '"': 28,  # half of a short string
    "\\": 16,  # the cost of telling strings from tokens
}
"""Bytes of memory for each byte of JSON, by character."""
OTHERS = 2
"""Bytes of memory for any other byte: the byte and a copy. All weights are multiples of this."""
_TABLE = bytes(WEIGHTS.get(chr(byte), OTHERS) // OTHERS for byte in range(256))


def announced(length: int, raw: bool) -> int:
    """Estimate the bytes that a request needs from the length of its body, before the body
    arrives."""
    return length * (RAW_FACTOR if raw else JSON_FACTOR)


def least(length: int, raw: bool) -> int:
    """Return the fewest bytes that a request with a body of ``length`` needs, for any content."""
    return length * (RAW_FACTOR if raw else OTHERS)


def weigh(part: bytes | bytearray, raw: bool) -> int:
    """Return the bytes that a part of a body needs when decoded: an upper bound of the measured
    values."""
    if raw:
        return len(part) * RAW_FACTOR
    # One table for all bytes: counting each of the five characters takes five times as long.
    units = np.frombuffer(part.translate(_TABLE), np.uint8)
    return int(units.sum(dtype=np.int64)) * OTHERS


def may_hold_strings(header: bytes | bytearray | memoryview) -> bool:
    r"""Return whether the JSON part of a binary body may declare a tensor of strings: as
    ``"BYTES"``, or with escapes such as ``"\u0042YTES"``."""
    text = bytes(header) if isinstance(header, memoryview) else header
    return b"BYTES" in text or b"\\u" in text


def decoded(request: InferRequest, weight: int) -> int:
    """Return the bytes that the inputs of a decoded request need. ``weight`` is the number of bytes
    that decoding it needed."""
    if any(tensor.array.dtype.hasobject for tensor in request.inputs):
        return weight
    # The arrays, and a copy of them in the batch.
    return 2 * sum(tensor.array.nbytes for tensor in request.inputs)
