"""Reads a request's body within limits of bytes and time, and takes its compression off."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from service.core.errors import BodyTimeout, BodyTooLarge, MalformedRequest, UnsupportedEncoding

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
# zlib's window bits: 31 takes gzip's header, 15 that of zlib, which HTTP calls deflate.
ENCODINGS = {b"gzip": 31, b"deflate": 15}
OFF_THE_LOOP = 64 * 1024
"""Bytes from which (de)compression is worth a thread: zlib lets the event loop go on meanwhile."""
MOST_PER_BYTE = 1032
"""Deflate cannot pack more than this many bytes into one: https://zlib.net/zlib_tech.html"""


class ClientGone(Exception):  # noqa: N818 - not an error to tell anybody
    """The client closed the connection."""


class BodyReader:
    """Reads bodies of at most ``limit`` bytes, plain and compressed, each within ``seconds``.

    Nearly all bodies are there at once, so the clock is not a timer for each but one that looks
    from time to time at who still reads.
    """

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit = limit
        self._seconds = seconds
        # All mutable state: when each task that reads must be done, which of them were told that
        # they are late, and the timer while there is anybody to look at.
        self._until: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def read(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """The whole body, decompressed.

        Raises:
            BodyTooLarge: it has more bytes than the limit.
            BodyTimeout: it did not arrive in time.
            UnsupportedEncoding, MalformedRequest: see ``decompress``.
            ClientGone: the client left.
        """
        length = headers.get(b"content-length")
        if length is not None and length.isdigit() and int(length) > self._limit:
            raise BodyTooLarge(f"the body has {int(length)} bytes, the limit is {self._limit}")
        task = asyncio.current_task()
        assert task is not None, "a body is read by a task"
        self._watch(task)
        try:
            body = await self._read(receive)
        except asyncio.CancelledError:
            if task not in self._late:
                raise
            task.uncancel()
            raise BodyTimeout(f"the body did not arrive within {self._seconds:g} s") from None
        finally:
            self._until.pop(task, None)
            self._late.discard(task)
        encoding = headers.get(b"content-encoding")
        if encoding is None:
            return body
        if len(body) * MOST_PER_BYTE < OFF_THE_LOOP:
            return decompress(body, encoding, self._limit)
        return await asyncio.to_thread(decompress, body, encoding, self._limit)

    async def _read(self, receive: Receive) -> bytes:
        message = await receive()
        body: bytes = message.get("body", b"")
        if message["type"] == "http.request" and not message.get("more_body", False):
            if len(body) > self._limit:
                raise BodyTooLarge(f"the body has {len(body)} bytes, the limit is {self._limit}")
            return body
        chunks, size = [], 0
        while True:
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self._limit:
                raise BodyTooLarge(f"the body has more than {self._limit} bytes")
            if not message.get("more_body", False):
                return b"".join(chunks)
            message = await receive()

    def _watch(self, task: asyncio.Task[Any]) -> None:
        loop = task.get_loop()
        self._until[task] = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_later(self._seconds / 4, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for task, until in self._until.items():
            if until <= now and task not in self._late:
                self._late.add(task)
                task.cancel()
        self._timer = loop.call_later(self._seconds / 4, self._look, loop) if self._until else None


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
    if machine.unused_data:
        raise MalformedRequest(f"the {encoding.decode()} body is followed by other bytes")
    return plain


def accepted_encoding(header: bytes) -> bytes | None:
    """The first of gzip and deflate that an Accept-Encoding header allows."""
    allowed = {}
    for item in header.lower().split(b","):
        name, _, weight = item.partition(b";")
        allowed[name.strip()] = weight.replace(b" ", b"") not in (b"q=0", b"q=0.0", b"q=0.00")
    return next((name for name in ENCODINGS if allowed.get(name)), None)


async def compress(body: bytes, encoding: bytes) -> bytes:
    """The body in gzip or deflate, at the fastest level."""
    if len(body) < OFF_THE_LOOP:
        return _compress(body, encoding)
    return await asyncio.to_thread(_compress, body, encoding)


def _compress(body: bytes, encoding: bytes) -> bytes:
    machine = zlib.compressobj(1, zlib.DEFLATED, ENCODINGS[encoding])
    return machine.compress(body) + machine.flush()
