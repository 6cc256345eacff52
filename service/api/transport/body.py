"""Reading and decompression of request bodies within a limit of bytes, compression of answers."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

from service.api.offload.lanes import Elsewhere
from service.api.protocol.json_tensors import Buffer, Bytes
from service.core.errors import BodyTooLarge, MalformedRequest, UnsupportedEncoding
from service.core.memory_budget import Reservation

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Grown = Callable[[Bytes], None]
"""Called with the part of a body received so far. Raises an error to refuse the body."""
# zlib's window bits: 31 for the gzip format, 15 for the zlib format, which HTTP calls deflate.
ENCODINGS = {b"gzip": 31, b"deflate": 15}
WORTH_COMPRESSING = 1024
PIECE = 256 * 1024
"""Bytes that are (de)compressed at once; the memory of a body is checked after each piece."""
OFF_THE_LOOP = 64 * 1024
"""Bytes from which (de)compression runs in a thread: zlib releases the GIL."""
MOST_PER_BYTE = 1032
"""Deflate cannot pack more than this many bytes into one: https://zlib.net/zlib_tech.html"""
LINGER = 2.0
"""Seconds of a lingering close. Closing while the client still sends would reset the connection,
and the client may lose the answer."""


class ClientGone(Exception):  # noqa: N818 - not an error to report
    """The client closed the connection."""


async def read_body(
    headers: Mapping[bytes, bytes], receive: Receive, limit: int, grown: Grown
) -> Bytes:
    """Return the whole body as it was sent.

    Raises:
        BodyTooLarge: the body has more bytes than the limit.
        UnsupportedEncoding: the transfer coding is not chunked.
        ClientGone: the client disconnected.
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
        body = await _read_rest(message, receive, limit, grown)
    if len(body) > limit:
        raise too_large(limit)
    return body


async def decompressed(
    body: Bytes, headers: Mapping[bytes, bytes], limit: int, elsewhere: Elsewhere, grown: Grown
) -> Bytes:
    """Return the decompressed body; see ``decompress``. A thread decompresses large bodies."""
    encoding = headers.get(b"content-encoding")
    if encoding is None:
        return body
    if len(body) * MOST_PER_BYTE < OFF_THE_LOOP:
        return decompress(body, encoding, limit)
    plain = bytearray()
    steps = decompression(body, encoding, limit)
    while (part := await elsewhere.steps.run(next, steps, None)) is not None:
        plain += part
        grown(plain)
    return plain


async def _read_rest(
    message: MutableMapping[str, Any], receive: Receive, limit: int, grown: Grown
) -> Bytes:
    # Extended in place: a list of small pieces would need far more memory than the body.
    body = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > limit:
            raise too_large(limit)
        grown(body)
        if not message.get("more_body", False):
            return body
        message = await receive()


async def swallow(receive: Receive) -> None:
    """Read and discard the rest of a refused request, for at most ``LINGER`` seconds."""
    try:
        async with asyncio.timeout(LINGER):
            message = await receive()
            while message["type"] == "http.request" and message.get("more_body"):
                message = await receive()
    except TimeoutError:
        pass


def too_large(limit: int, size: int | None = None) -> BodyTooLarge:
    """Return the error for a body beyond the limit, with its size if the client announced it."""
    if size is None:
        return BodyTooLarge(f"the body has more than the {limit} bytes that are allowed")
    return BodyTooLarge(f"the body has {size} bytes, at most {limit} are allowed")


def decompress(body: Bytes, encoding: bytes, limit: int) -> Bytes:
    """Return the decompressed body.

    Raises:
        UnsupportedEncoding: the encoding is not gzip, deflate or identity.
        BodyTooLarge: the decompressed body has more than ``limit`` bytes.
        MalformedRequest: the body is not valid data of this encoding.
    """
    return b"".join(decompression(body, encoding, limit))


def decompression(body: Bytes, encoding: bytes, limit: int) -> Iterator[Bytes]:
    """Decompress the body in parts of at most ``PIECE`` bytes; see ``decompress``."""
    encoding = encoding.strip().lower()
    if encoding == b"identity":
        yield body
        return
    if encoding not in ENCODINGS:
        name = encoding.decode("latin-1")
        raise UnsupportedEncoding(f'Content-Encoding "{name:.40}", expected gzip or deflate')
    name, total = encoding.decode(), 0
    machine = zlib.decompressobj(ENCODINGS[encoding])
    for part in _inflated(machine, body, name):
        total += len(part)
        if total > limit:
            raise BodyTooLarge(
                f"the decompressed body has more than the {limit} bytes that are allowed"
            )
        yield part
    if not machine.eof:
        raise MalformedRequest(f"the {name} body is cut short")


def _inflated(machine: "zlib._Decompress", body: Bytes, name: str) -> Iterator[bytes]:
    # The input is sliced too, because each step copies the input that it did not consume.
    whole = memoryview(body)
    for at in range(0, len(whole), PIECE):
        rest: Bytes | memoryview = whole[at : at + PIECE]
        while rest or not machine.eof:
            if machine.eof:
                raise MalformedRequest(f"the {name} body is followed by other bytes")
            try:
                part = machine.decompress(rest, PIECE)
            except zlib.error as error:
                raise MalformedRequest(f"the body is not {name}: {error}") from None
            if not part and not machine.eof:
                break  # it needs more input
            yield part
            rest = machine.unconsumed_tail or machine.unused_data


def wanted_encoding(headers: Mapping[bytes, bytes], size: int) -> bytes | None:
    """Return the first of gzip and deflate that the client accepts; None if it accepts neither, or
    if the answer is too small to be compressed."""
    accepts = headers.get(b"accept-encoding")
    if accepts is None or size < WORTH_COMPRESSING:
        return None
    allowed = {}
    for item in accepts.lower().split(b","):
        name, _, weight = item.partition(b";")
        # A weight of zero, with any number of decimals, is reduced to "q=".
        allowed[name.strip()] = weight.replace(b" ", b"").rstrip(b"0.") != b"q="
    return next((name for name in ENCODINGS if allowed.get(name)), None)


def deflated(parts: Sequence[Buffer], encoding: bytes) -> Bytes:
    """Return the body compressed by gzip or deflate, at the fastest level."""
    machine, whole = zlib.compressobj(1, zlib.DEFLATED, ENCODINGS[encoding]), bytearray()
    for part in parts:
        view = memoryview(part)
        for start in range(0, len(view), PIECE):
            whole += machine.compress(view[start : start + PIECE])
    whole += machine.flush()
    return whole


async def compress(
    parts: Sequence[Buffer],
    size: int,
    encoding: bytes,
    elsewhere: Elsewhere,
    held: Reservation | None,
) -> Bytes:
    """Return the compressed body; see ``deflated``. A large body is compressed in a thread.
    ``held`` are the bytes reserved for the answer."""
    if size < OFF_THE_LOOP:
        return deflated(parts, encoding)
    return await elsewhere.lane(size).run(deflated, parts, encoding, held=held)
