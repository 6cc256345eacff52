"""Lets clients that send much be read in turns.

libuv reads up to 32 full buffers of a connection before it looks at another: of sixteen clients
that send as fast as they are read, 128 MB between two answers to others.
"""

import asyncio
from collections import deque
from typing import Any, Protocol

FULL = 128 * 1024
"""Bytes; who sends so many at once is read again when it is its turn."""


class Read(Protocol):
    """A connection; uvicorn's HTTP protocol is one. Its ``flow`` says whether it is not to be read
    for other reasons."""

    transport: Any
    flow: Any


class ReadTurns:
    """One connection is read in each turn of the event loop, of those that wait."""

    def __init__(self) -> None:
        # All mutable state: those that are paused here, in order. While there is one, `_next` is
        # about to be called.
        self._waiting: deque[Read] = deque()

    def wait(self, connection: Read) -> None:
        """Do not read the connection until its turn."""
        if connection.transport.is_closing() or connection in self._waiting:
            return
        connection.transport.pause_reading()
        self._waiting.append(connection)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        connection = self._waiting.popleft()
        if not (connection.transport.is_closing() or connection.flow.read_paused):
            connection.transport.resume_reading()
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._next)
