"""Connections over real sockets on the loopback interface, under asyncio."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from service.api.http1.connection import Limits
from service.api.http1.driver import HTTPProtocol, Route, Shared
from service.api.http1.request import Header, Request
from service.api.transport.traffic import Traffic

LIMITS = Limits(head=20, keep_alive=20, linger=2, stall=20)


@dataclass
class Host:
    """A server that does not use uvicorn."""

    connections: set[Any] = field(default_factory=set)
    tasks: set[Any] = field(default_factory=set)
    default_headers: list[Header] = field(default_factory=lambda: [(b"date", b"today")])


@dataclass
class Client:
    """A client's side of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    host: Host

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)

    def reset(self) -> None:
        """Reset the connection."""
        line = self.writer.get_extra_info("socket")
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def rest(self) -> bytes:
        """Read all bytes until the server closes the connection."""
        return await asyncio.wait_for(self.reader.read(), 20)


@dataclass
class Streaming:
    """A receiver that replies in its own coroutine."""

    work: Callable[[Request, HTTPProtocol], Any]
    request: Request
    connection: HTTPProtocol
    disconnected: bool = False
    task: asyncio.Task[None] | None = None

    def receive(self, chunk: bytes | bytearray, complete: bool) -> None:
        if complete:
            self.task = asyncio.ensure_future(self.work(self.request, self.connection))

    def time_out(self) -> None: ...

    def disconnect(self) -> None:
        self.disconnected = True

    def stop(self) -> None: ...


@asynccontextmanager
async def connected(route: Route, limits: Limits = LIMITS) -> AsyncIterator[Client]:
    """Return a client of a server that passes requests to ``route``."""
    host, shared = Host(), Shared(Traffic(2**30))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: HTTPProtocol(route, shared, limits, host), "127.0.0.1", 0
    )
    port = server.sockets[0].getsockname()[1]
    # Little is read ahead, so that the server notices a client that does not read.
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**12)
    yield Client(reader, writer, host)
    writer.close()
    server.close()
    for connection in list(host.connections):
        connection.drop()
