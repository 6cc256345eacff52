"""Protobuf's wire format, as far as a message of inference is taken apart and put together by hand.

A tensor in a message is a run of bytes with a tag and a length before it. A parser would copy it,
and hand out another copy; here it stays where it is, and what describes it is looked up, since
clients send the same description with every request.
"""

from typing import NamedTuple

from service.core.errors import MalformedRequest

MOST_FIELDS = 16 * 1024
"""Fields of one request: more than all inputs, outputs and parameters that are taken."""
MODEL, VERSION, ID, RAW = 0x0A, 0x12, 0x1A, 0x3A
"""Tags of fields of ModelInferRequest, in one byte each."""
TRUNCATED = "the message ends within a field: it is not a ModelInferRequest"


class Parts(NamedTuple):
    """A ModelInferRequest taken apart: ``head`` is all of it but the id and the raw contents, whose
    places in the message are ``raw``."""

    model: str
    version: str
    id: str
    head: bytes
    raw: list[tuple[int, int]]


def split(body: bytes) -> Parts:
    """Take a request apart.

    Raises:
        MalformedRequest: it is not one.
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
    """A varint, and the place after it.

    Raises:
        IndexError: the body ends before.
        MalformedRequest: it has more than ten bytes.
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
            raise MalformedRequest("a number of the message has more than ten bytes")


def _skipped(body: bytes, at: int) -> int:
    """The place after a field that is not read here."""
    tag, at = varint(body, at)
    kind = tag & 7
    if kind == 0:
        return varint(body, at)[1]
    if kind == 2:
        size, at = varint(body, at)
        return at + size
    if kind in (1, 5):
        return at + (8 if kind == 1 else 4)
    raise MalformedRequest(f"the message has a field of the wire type {kind}, which is not known")


def encoded_varint(value: int) -> bytes:
    """A number that is not negative."""
    if value < 0x80:
        return bytes((value,))
    made = bytearray()
    while value >= 0x80:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def field(tag: int, data: bytes) -> bytes:
    """A field of bytes, text or a message, whose tag takes one byte."""
    return b"%c%b%b" % (tag, encoded_varint(len(data)), data)


def prefix(tag: int, size: int) -> bytes:
    """What stands before so many bytes of such a field."""
    return b"%c%b" % (tag, encoded_varint(size))
