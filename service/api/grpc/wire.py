"""The parts of protobuf's wire format that are needed to split and build inference messages.

In a message, a tensor is a sequence of bytes after a tag and a length. A protobuf parser would copy
it twice. Here, the tensor is not copied. Its description is looked up in a cache, because clients
send the same description with every request.
"""

from typing import NamedTuple

from service.core.errors import MalformedRequest

MOST_FIELDS = 16 * 1024
"""The maximum number of fields of one request: more than all allowed inputs, outputs and
parameters."""
MODEL, VERSION, ID, RAW = 0x0A, 0x12, 0x1A, 0x3A
"""Tags of fields of ModelInferRequest, in one byte each."""
TRUNCATED = "the message ends within a field: it is not a ModelInferRequest"


class Parts(NamedTuple):
    """The parts of a ModelInferRequest. ``head`` is the message without the id and the raw
    contents. ``raw`` has the start and end of each raw tensor in the message."""

    model: str
    version: str
    id: str
    head: bytes
    raw: list[tuple[int, int]]


def split(body: bytes) -> Parts:
    """Split a request into its parts.

    Raises:
        MalformedRequest: the body is not a ModelInferRequest.
    """
    model = version = id = b""
    raw: list[tuple[int, int]] = []
    kept: list[bytes] = []
    at = since = fields = 0
    end = len(body)
    try:
        while at < end:
            start = at
            tag = body[at]
            if tag & 0x80 or tag & 7 != 2:
                at = _skipped(body, at)
            else:
                size = body[at + 1]
                at += 2
                if size & 0x80:
                    size, at = varint(body, at - 1)
                first, at = at, at + size
                if at > end:
                    raise MalformedRequest(TRUNCATED)
                if tag == RAW:
                    raw.append((first, at))
                elif tag == MODEL:
                    model = body[first:at]
                elif tag == VERSION:
                    version = body[first:at]
                elif tag == ID:
                    id = body[first:at]
                if tag in (RAW, ID):
                    if start > since:
                        kept.append(body[since:start])
                    since = at
            fields += 1
            if fields > MOST_FIELDS:
                raise MalformedRequest(f"the message has more than {MOST_FIELDS} fields")
    except IndexError:
        raise MalformedRequest(TRUNCATED) from None
    if at > end:
        raise MalformedRequest(TRUNCATED)
    if since < end:
        kept.append(body[since:])
    head = kept[0] if len(kept) == 1 else b"".join(kept)
    try:
        return Parts(str(model, "utf-8"), str(version, "utf-8"), str(id, "utf-8"), head, raw)
    except UnicodeDecodeError:
        raise MalformedRequest("model_name, model_version or id is not UTF-8") from None


def varint(body: bytes, at: int) -> tuple[int, int]:
    """Decode a varint; return its value and the position after it.

    Raises:
        IndexError: the body ends within the varint.
        MalformedRequest: the varint has more than ten bytes.
    """
    value = shift = 0
    while True:
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise MalformedRequest("a number in the message has more than ten bytes")


def _skipped(body: bytes, at: int) -> int:
    """Return the position after a field that is skipped."""
    tag, at = varint(body, at)
    kind = tag & 7
    if kind == 0:
        return varint(body, at)[1]
    if kind == 2:
        size, at = varint(body, at)
        return at + size
    if kind in (1, 5):
        return at + (8 if kind == 1 else 4)
    raise MalformedRequest(f"the message has a field of the unknown wire type {kind}")


def encoded_varint(value: int) -> bytes:
    """Encode a number that is not negative as a varint."""
    if value < 0x80:
        return bytes((value,))
    made = bytearray()
    while value >= 0x80:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def field(tag: int, data: bytes) -> bytes:
    """Encode a field of bytes, text or a message, with a tag of one byte."""
    return b"%c%b%b" % (tag, encoded_varint(len(data)), data)


def prefix(tag: int, size: int) -> bytes:
    """Encode the tag and length of such a field, for data of ``size`` bytes."""
    return b"%c%b" % (tag, encoded_varint(size))
