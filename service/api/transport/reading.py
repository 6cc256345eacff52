"""Reads clients that send much in turns, and bounds how many are read after their reply.

libuv reads up to 32 full buffers of a connection before it looks at another: of sixteen clients
that send as fast as they are read, 128 MB between two answers to others.
"""

import asyncio
from typing import Protocol

FULL = 128 * 1024
"""Bytes; a connection that has sent this many at once is read again when it is its turn."""
MOST_LINGERING = 128


class Read(Protocol):
    """A connection that waits for its turn."""

    def end_turn(self) -> None:
        """Read again, unless there are other reasons not to."""


class ReadTurns:
    """One connection is read in each turn of the event loop, of those that wait."""

    def __init__(self) -> None:
        # All mutable state: those that are paused here, in order (a dictionary, to find one at
        # once). While there is one, `_next` is about to be called.
        self._waiting: dict[Read, None] = {}

    def wait(self, connection: Read) -> None:
        """Call ``end_turn`` when it is the connection's turn. It is not to be read until then."""
        if connection not in self._waiting:
            self._waiting[connection] = None
            if len(self._waiting) == 1:
                asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        connection = next(iter(self._waiting))
        del self._waiting[connection]
        connection.end_turn()
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
