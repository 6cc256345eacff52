"""Lets clients that send much be read in turns, and few of those that nobody listens to any more.

libuv reads up to 32 full buffers of a connection before it looks at another: of sixteen clients
that send as fast as they are read, 128 MB between two answers to others.
"""

import asyncio
from typing import Any, Protocol

FULL = 128 * 1024
"""Bytes; who sends so many at once is read again when it is its turn."""
LINGER_SECONDS = 2.0
"""For a client that still sends to come to the answer, and to wait for the end of the line."""
MOST_LINGERING = 128


class Read(Protocol):
    """A connection; uvicorn's HTTP protocol is one. Its ``flow`` says whether it is not to be read
    for other reasons."""

    transport: Any
    flow: Any


class ReadTurns:
    """One connection is read in each turn of the event loop, of those that wait."""

    def __init__(self) -> None:
        # All mutable state: those that are paused here, in order (a dictionary, to find one at
        # once). While there is one, `_next` is about to be called.
        self._waiting: dict[Read, None] = {}

    def wait(self, connection: Read) -> None:
        """Do not read the connection until its turn."""
        if connection.transport.is_closing() or connection in self._waiting:
            return
        connection.transport.pause_reading()
        self._waiting[connection] = None
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        connection = next(iter(self._waiting))
        del self._waiting[connection]
        if not (connection.transport.is_closing() or connection.flow.read_paused):
            connection.transport.resume_reading()
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._next)


class Lingers(Protocol):
    """A connection that was answered before the end of its request."""

    def hang_up(self) -> None:
        """Close it."""


class Lingering:
    """Connections whose rest is read for a moment and thrown away, so that their clients see the
    answer; at most so many.

    When there are more, the one that has had the most time is closed. A client that has left is
    found only behind everything that it has sent: without a bound, thousands were held and read.
    """

    def __init__(self, most: int = MOST_LINGERING) -> None:
        self._most = most
        # All mutable state, the oldest first.
        self._connections: dict[Lingers, None] = {}

    def add(self, connection: Lingers) -> None:
        """Its client has its answer."""
        self._connections[connection] = None
        if len(self._connections) > self._most:
            next(iter(self._connections)).hang_up()

    def remove(self, connection: Lingers) -> None:
        """It is closed, or its request has come to its end."""
        self._connections.pop(connection, None)
