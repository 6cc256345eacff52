"""The whole application in this process: real models, real batchers, no socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from pydantic import SecretStr
from uvicorn.server import ServerState

from service.app import Server
from service.config.settings import Settings

ROOT = Path(__file__).parents[1]
KEY = "an-admin-key"
"""Which the client shows with every request."""


@dataclass(frozen=True, slots=True)
class Served:
    """A served models folder, and a client for it."""

    server: Server
    client: httpx.AsyncClient


@asynccontextmanager
async def serve(folder: Path, *, load: bool = True, **settings: Any) -> AsyncIterator[Served]:
    """Serve a folder while the context lasts; without ``load`` all versions stay LOADING."""
    settings = {"admin_key": SecretStr(KEY), **settings}
    server = Server(Settings(models=folder, **settings), lambda _: None)
    if load:
        await server.repository.load_all()
    else:
        await server.repository.refresh()
    transport = httpx.ASGITransport(app=server)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://127.0.0.1", headers={"X-API-Key": KEY}
    ) as client:
        yield Served(server, client)
    await server.repository.stop()
    await server.end_codecs()


@dataclass(eq=False)
class Wire(asyncio.Transport):
    """A connection in memory: the bytes written, and whether it is being read and open."""

    written: bytearray = field(default_factory=bytearray)
    paused: bool = False
    closed: bool = False

    def write(self, data: Any) -> None:
        if not self.closed:
            self.written += data

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def get_write_buffer_size(self) -> int:
        return 0


def connect(server: Server, loop: Any = None, **options: Any) -> tuple[Any, Wire]:
    """Connect to a server without a socket; return uvicorn's protocol object and its transport."""
    config = uvicorn.Config(server, lifespan="off", log_config=None, ws="none", **options)
    config.load()
    protocol: Any = server.protocol(
        config=config,
        server_state=ServerState(),
        app_state={},
        _loop=loop or asyncio.get_running_loop(),
    )
    wire = Wire()
    protocol.connection_made(wire)
    return protocol, wire
