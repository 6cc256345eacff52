"""Reads a request's body within limits, and takes its compression off."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from service.core.errors import BodyTooLarge, MalformedRequest, UnsupportedEncoding

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
# zlib's window bits: 31 takes gzip's header, 15 that of zlib, which HTTP calls deflate.
ENCODINGS = {b"gzip": 31, b"deflate": 15}


class ClientGone(Exception):  # noqa: N818 - not an error to tell anybody
    """The client closed the connection."""


async def read_body(receive: Receive, limit: int, seconds: float) -> bytes:
    """The whole body.

    Raises:
        BodyTooLarge: it has more than ``limit`` bytes.
        MalformedRequest: it did not arrive within ``seconds``.
        ClientGone: the client left.
    """
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise BodyTooLarge(f"the body has {len(body)} bytes, the limit is {limit}")
        return body
    try:
        async with asyncio.timeout(seconds):
            return await _read_rest(message, receive, limit)
    except TimeoutError:
        raise MalformedRequest(f"the body did not arrive within {seconds:g} s") from None


async def _read_rest(message: MutableMapping[str, Any], receive: Receive, limit: int) -> bytes:
    chunks, size = [], 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            raise BodyTooLarge(f"the body has more than {limit} bytes")
        if not message.get("more_body", False):
            return b"".join(chunks)
        message = await receive()


def decompress(body: bytes, encoding: bytes, limit: int) -> bytes:
    """The body as it was before the client compressed it.

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
    machine = zlib.decompressobj(ENCODINGS[encoding])
    try:
        plain = machine.decompress(body, limit + 1)
    except zlib.error as error:
        raise MalformedRequest(f"the body is not {encoding.decode()}: {error}") from None
    if len(plain) > limit:
        raise BodyTooLarge(f"the body has more than {limit} bytes when decompressed")
    if not machine.eof:
        raise MalformedRequest(f"the {encoding.decode()} body is cut short")
    return plain


def accepted_encoding(header: bytes) -> bytes | None:
    """The first of gzip and deflate that an Accept-Encoding header allows."""
    allowed = {}
    for item in header.lower().split(b","):
        name, _, weight = item.partition(b";")
        allowed[name.strip()] = weight.replace(b" ", b"") not in (b"q=0", b"q=0.0", b"q=0.00")
    return next((name for name in ENCODINGS if allowed.get(name)), None)


def compress(body: bytes, encoding: bytes) -> bytes:
    """The body in gzip or deflate, at the fastest level."""
    machine = zlib.compressobj(1, zlib.DEFLATED, ENCODINGS[encoding])
    return machine.compress(body) + machine.flush()
