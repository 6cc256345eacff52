"""Reads in turns from clients that send much, and limits how many are read after their reply.

libuv reads up to 32 full buffers of a connection before it reads the next. With sixteen clients
that send as fast as they can, this is 128 MB between two answers to other clients.
"""

import asyncio
from typing import Protocol

FULL = 128 * 1024
"""Bytes; a connection that has sent this many at once must wait for its turn to be read again."""
MOST_LINGERING = 128


class Read(Protocol):
    """A connection that waits for its turn."""

    def end_turn(self) -> None:
        """Resume reading, unless it is also paused for another reason."""


class ReadTurns:
    """In each iteration of the event loop, one of the waiting connections is read."""

    def __init__(self) -> None:
        # All mutable state: the paused connections, in order (a dictionary, for fast lookup).
        # While there are any, `_next` is scheduled.
        self._waiting: dict[Read, None] = {}

    def wait(self, connection: Read) -> None:
        """Call ``end_turn`` when it is the connection's turn. Do not read from it until then."""
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
    """Connections that were answered early. The rest of their requests is read and discarded for a
    moment, so that their clients receive the answer.

    At most ``most`` connections are kept; beyond that, the oldest is closed. The server detects a
    disconnect only after it has read everything that the client sent. Without a limit, thousands of
    such connections were held and read.
    """

    def __init__(self, most: int = MOST_LINGERING) -> None:
        self._most = most
        # All mutable state, the oldest first.
        self._connections: dict[Lingers, None] = {}

    def add(self, connection: Lingers) -> None:
        """Add a connection whose answer was sent. Close the oldest if there are too many."""
        self._connections[connection] = None
        if len(self._connections) > self._most:
            next(iter(self._connections)).hang_up()

    def remove(self, connection: Lingers) -> None:
        """Remove a connection that is closed or whose request is complete."""
        self._connections.pop(connection, None)
