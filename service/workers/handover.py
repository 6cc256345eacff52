"""Passes connections to workers that have fewer.

The kernel assigns each new connection to a worker by a hash of its addresses, so two clients may
reach the same worker. A worker that has more connections than another therefore passes a new
connection on, as a file descriptor, before anything is read from it.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import uvicorn

from service.supervised import Seat

_log = logging.getLogger("quantserve")
PERIOD = 0.1
Create = Callable[..., asyncio.Protocol]


class Handover:
    """Accepts and passes on connections. ``create`` creates the protocol of a connection, as
    uvicorn calls it."""

    def __init__(self, seat: Seat, create: Create) -> None:
        self._seat = seat
        self._create = create
        self._connections: set[Any] = set()
        self._ticking: asyncio.Task[None] | None = None
        self._taking: set[asyncio.Task[Any]] = set()

    def protocol(self, **given: Any) -> asyncio.Protocol:
        """Return the protocol of a connection that may be passed on; called by uvicorn."""
        self._connections = given["server_state"].connections
        return _Arrival(self, lambda: self._create(**given))

    def open(self, server: uvicorn.Server) -> None:
        """Start to accept connections from other workers."""
        self._connections = server.server_state.connections
        loop = asyncio.get_running_loop()
        loop.add_reader(self._seat.inbox, self._take, server)
        self._count()
        self._ticking = loop.create_task(self._tick())

    def close(self) -> None:
        """Stop accepting connections."""
        if self._ticking is not None:
            self._ticking.cancel()
        self._seat.board.close(self._seat.worker)

    def passed_on(self, transport: asyncio.Transport) -> bool:
        """Pass a new connection to another worker. Return False if this worker should serve it."""
        own, seat = len(self._connections) + 1, self._seat
        target = seat.board.emptiest(seat.worker, own)
        connection = transport.get_extra_info("socket")
        if target == seat.worker or connection is None:
            self._count(own)
            return False
        try:
            socket.send_fds(seat.outboxes[target], [b"."], [connection.fileno()])
        except OSError:  # it has not read the earlier connections yet
            return False
        # The other worker counts the connection later. Count it here, so that it affects the next
        # choice.
        seat.board.set_connections(target, (seat.board.connections(target) or 0) + 1)
        return True

    def _take(self, server: uvicorn.Server) -> None:
        with suppress(BlockingIOError):
            _, files, _, _ = socket.recv_fds(self._seat.inbox, 1, 1)
            for file in files:
                task = asyncio.ensure_future(self._adopt(file, server))
                self._taking.add(task)
                task.add_done_callback(self._taking.discard)

    async def _adopt(self, file: int, server: uvicorn.Server) -> None:
        try:
            connection = socket.socket(fileno=file)
        except OSError:
            os.close(file)
            return
        connection.setblocking(False)

        def create() -> asyncio.Protocol:
            # The sender's count may have been overwritten by a tick that did not include this one.
            self._count(len(self._connections) + 1)
            return self._create(
                config=server.config,
                server_state=server.server_state,
                app_state=server.lifespan.state,
            )

        try:
            await asyncio.get_running_loop().connect_accepted_socket(create, connection)
        except OSError:  # the client has disconnected
            connection.close()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(PERIOD)
            self._count()

    def _count(self, count: int | None = None) -> None:
        found = len(self._connections) if count is None else count
        self._seat.board.set_connections(self._seat.worker, found)


class _Arrival(asyncio.Protocol):
    """A new connection, until it is decided which worker serves it."""

    def __init__(self, handover: Handover, create: Callable[[], asyncio.Protocol]) -> None:
        self._handover = handover
        self._create = create

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Pass the connection on, or serve it. Called before anything is read."""
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "set_protocol")
        if self._handover.passed_on(transport):  # type: ignore[arg-type]  # uvloop's own class
            transport.abort()  # type: ignore[attr-defined]  # closes this process's copy only
            return
        inner = self._create()
        transport.set_protocol(inner)
        inner.connection_made(transport)
