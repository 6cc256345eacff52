"""Reader and writer of the protobuf wire format. Skipped fields are not copied.

An ONNX file is one protobuf message that consists mostly of weights. This reader finds the few
kilobytes that describe the graph, and skips the rest, so that a file of any size costs no memory.

Source: https://protobuf.dev/programming-guides/encoding/
"""

import re
from collections.abc import Iterator

from service.core.graph_limits import MAX_DIMS, MAX_NAME_BYTES

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MODES = rb"\x4a(?:\x04LEAF|\x09BRANCH_(?:LT|GT|EQ)|\x0aBRANCH_(?:LEQ|GTE|NEQ))"
NUMBERS = re.compile(
    rb"(?:\x3d[\s\S]{4}|\x40[\x80-\xff]{0,9}[\x00-\x7f]|" + MODES + rb"){1,65536}+"
)
"""Sequences of floats and integers of an AttributeProto (fields 7 and 8), and of the strings (field
9) that name the kind of a tree's node: a forest has millions of each."""


class WireError(ValueError):
    """The bytes are not a protobuf message."""


def fields(
    message: memoryview, skip: re.Pattern[bytes] | None = None
) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the fields of a message in order: (number, value).

    A varint is an int; everything else is a view of its bytes. A sequence that ``skip`` matches is
    not split: it is yielded whole with the number 0, which no field has.

    Raises:
        WireError: the bytes end early, or have a wire type that no ONNX file has.
    """
    at, end = 0, len(message)
    while at < end:
        if skip is not None and (run := skip.match(message, at)):
            yield 0, message[at : run.end()]
            at = run.end()
            continue
        tag, at = varint(message, at)
        number, wire_type = tag >> 3, tag & 7
        if number == 0:
            raise WireError(f"a field without a number at byte {at}")
        if wire_type == VARINT:
            value, at = varint(message, at)
            yield number, value
            continue
        if wire_type == BYTES:
            size, at = varint(message, at)
        elif wire_type in (FIXED32, FIXED64):
            size = 4 if wire_type == FIXED32 else 8
        else:
            raise WireError(f"wire type {wire_type} at byte {at}")
        if at + size > end:
            raise WireError(f"field {number} of {size} bytes at byte {at} exceeds the end at {end}")
        yield number, message[at : at + size]
        at += size


def varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return the unsigned integer at a position, and the position after it.

    Raises:
        WireError: the integer does not end within ten bytes.
    """
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise WireError(f"an integer that does not end at byte {at}")


def encode(number: int, value: int | str | bytes | memoryview) -> bytes:
    """Encode one field of a message: an unsigned integer as a varint, everything else as bytes."""
    if isinstance(value, int):
        return _varint(number << 3 | VARINT) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return b"".join((_varint(number << 3 | BYTES), _varint(len(data)), data))


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*parts, value))


def integers(value: int | memoryview, most: int = MAX_DIMS) -> list[int]:
    """Return the values of a repeated integer field: packed values, or a single one.

    Raises:
        WireError: there are more than ``most``.
    """
    if isinstance(value, int):
        return [value]
    found: list[int] = []
    at = 0
    while at < len(value):
        if len(found) == most:
            raise WireError(f"more than {most} integers, such as dimensions")
        number, at = varint(value, at)
        found.append(number)
    return found


def text(value: int | memoryview) -> str:
    """Decode a string field.

    Raises:
        WireError: the field is not a string, or is longer than a name may be.
    """
    if isinstance(value, int):
        raise WireError(f"expected a text, got the number {value}")
    if len(value) > MAX_NAME_BYTES:
        raise WireError(f"a name of {len(value)} bytes, at most {MAX_NAME_BYTES} are allowed")
    return bytes(value).decode(errors="replace")


def view(value: int | memoryview) -> memoryview:
    """Return the bytes of a nested message.

    Raises:
        WireError: the field is not a message.
    """
    if isinstance(value, int):
        raise WireError(f"expected a message, got the number {value}")
    return value
