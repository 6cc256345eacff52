"""Reads a request's body within a limit of bytes, and takes its compression off."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

from service.api.elsewhere import Elsewhere
from service.api.json_tensors import Buffer, Bytes
from service.core.errors import BodyTooLarge, MalformedRequest, UnsupportedEncoding

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
# zlib's window bits: 31 takes gzip's header, 15 that of zlib, which HTTP calls deflate.
ENCODINGS = {b"gzip": 31, b"deflate": 15}
WORTH_COMPRESSING = 1024
PIECE = 256 * 1024
"""Bytes that are (de)compressed at once."""
USUAL_PER_BYTE = 16
"""What a byte of a compressed body may become, to choose where it waits for its turn."""
OFF_THE_LOOP = 64 * 1024
"""Bytes from which (de)compression is worth a thread: zlib lets the event loop go on meanwhile."""
MOST_PER_BYTE = 1032
"""Deflate cannot pack more than this many bytes into one: https://zlib.net/zlib_tech.html"""
LINGER = 2.0
"""Seconds in which a sender that was refused may stop. A line that is cut while the other side
still sends is reset, and the reset may overtake the answer."""


class ClientGone(Exception):  # noqa: N818 - not an error to tell anybody
    """The client closed the connection."""


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, limit: int) -> Bytes:
    """The whole body, as it was sent.

    Raises:
        BodyTooLarge: it has more bytes than the limit.
        UnsupportedEncoding: it comes in a transfer coding other than chunked.
        ClientGone: the client left.
    """
    length = headers.get(b"content-length")
    if length is not None and length.isdigit() and int(length) > limit:
        raise too_large(limit, int(length))
    coding = headers.get(b"transfer-encoding", b"chunked")
    if coding.strip().lower() != b"chunked":
        shown = coding.decode("latin-1")
        raise UnsupportedEncoding(f'Transfer-Encoding "{shown:.40}", expected chunked')
    message = await receive()
    body: Bytes = message.get("body", b"")
    if message.get("more_body", False) or message["type"] != "http.request":
        body = await _read_rest(message, receive, limit)
    if len(body) > limit:
        raise too_large(limit)
    return body


async def decompressed(
    body: Bytes, headers: Mapping[bytes, bytes], limit: int, elsewhere: Elsewhere
) -> Bytes:
    """The body as it was before the client compressed it; see ``decompress``."""
    encoding = headers.get(b"content-encoding")
    if encoding is None:
        return body
    if len(body) * MOST_PER_BYTE < OFF_THE_LOOP:
        return decompress(body, encoding, limit)
    lane = elsewhere.lane(len(body) * USUAL_PER_BYTE)
    return await lane.run(decompress, body, encoding, limit)


async def _read_rest(message: MutableMapping[str, Any], receive: Receive, limit: int) -> Bytes:
    # Grown in place: a list of pieces takes far more memory than the body when they are small.
    body = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > limit:
            raise too_large(limit)
        if not message.get("more_body", False):
            return body
        message = await receive()


async def swallow(receive: Receive) -> None:
    """Throw away what a sender that was refused still sends, for a moment."""
    try:
        async with asyncio.timeout(LINGER):
            message = await receive()
            while message["type"] == "http.request" and message.get("more_body"):
                message = await receive()
    except TimeoutError:
        pass


def too_large(limit: int, size: int | None = None) -> BodyTooLarge:
    """The error that tells of a body past the limit; its size is known where it was announced."""
    if size is None:
        return BodyTooLarge(f"the body has more than the {limit} bytes that are taken")
    return BodyTooLarge(f"the body has {size} bytes, at most {limit} are taken")


def decompress(body: Bytes, encoding: bytes, limit: int) -> Bytes:
    """The body as it was before the client compressed it. In pieces, since what zlib gives is put
    together while the interpreter is held.

    Raises:
        UnsupportedEncoding: neither gzip nor deflate.
        BodyTooLarge: it grows past ``limit`` bytes.
        MalformedRequest: it is not what the encoding says.
    """
    encoding = encoding.strip().lower()
    if encoding == b"identity":
        return body
    if encoding not in ENCODINGS:
        name = encoding.decode("latin-1")
        raise UnsupportedEncoding(f'Content-Encoding "{name:.40}", expected gzip or deflate')
    plain = bytearray()
    try:
        for piece in _inflated(body, encoding):
            plain += piece
            if len(plain) > limit:
                raise BodyTooLarge(
                    f"decompressed, the body has more than the {limit} bytes that are taken"
                )
    except zlib.error as error:
        raise MalformedRequest(f"the body is not {encoding.decode()}: {error}") from None
    return plain


def _inflated(body: Bytes, encoding: bytes) -> Iterator[bytes]:
    machine = zlib.decompressobj(ENCODINGS[encoding])
    whole = memoryview(body)
    for start in range(0, len(whole), PIECE):
        left: Bytes | memoryview = whole[start : start + PIECE]
        while left:
            if machine.eof:
                raise MalformedRequest(f"the {encoding.decode()} body is followed by other bytes")
            yield machine.decompress(left, PIECE)
            left = machine.unused_data or machine.unconsumed_tail
    while not machine.eof and (piece := machine.decompress(b"", PIECE)):
        yield piece
    if not machine.eof:
        raise MalformedRequest(f"the {encoding.decode()} body is cut short")


def wanted_encoding(headers: Mapping[bytes, bytes], size: int) -> bytes | None:
    """The first of gzip and deflate that the client accepts, where an answer of this size is worth
    it."""
    accepts = headers.get(b"accept-encoding")
    if accepts is None or size < WORTH_COMPRESSING:
        return None
    allowed = {}
    for item in accepts.lower().split(b","):
        name, _, weight = item.partition(b";")
        # What is left of a weight of nothing, with any number of decimals, is "q=".
        allowed[name.strip()] = weight.replace(b" ", b"").rstrip(b"0.") != b"q="
    return next((name for name in ENCODINGS if allowed.get(name)), None)


def deflated(parts: Sequence[Buffer], encoding: bytes) -> Bytes:
    """The body in gzip or deflate, at the fastest level."""
    machine, whole = zlib.compressobj(1, zlib.DEFLATED, ENCODINGS[encoding]), bytearray()
    for part in parts:
        view = memoryview(part)
        for start in range(0, len(view), PIECE):
            whole += machine.compress(view[start : start + PIECE])
    whole += machine.flush()
    return whole


async def compress(
    parts: Sequence[Buffer], size: int, encoding: bytes, elsewhere: Elsewhere
) -> Bytes:
    """The same, without holding up the event loop."""
    if size < OFF_THE_LOOP:
        return deflated(parts, encoding)
    return await elsewhere.lane(size).run(deflated, parts, encoding)
