"""The whole application in this process: real models, real batchers, no socket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from service.app import Server
from service.config import Settings

ROOT = Path(__file__).parents[1]
KEY = "an-admin-key"
"""Which the client shows with every request."""


@dataclass(frozen=True, slots=True)
class Served:
    """A folder of models that is served, and a client for it."""

    server: Server
    client: httpx.AsyncClient


@asynccontextmanager
async def serve(folder: Path, *, load: bool = True, **settings: Any) -> AsyncIterator[Served]:
    """Serve a folder for as long as the context lasts; without ``load`` nothing leaves LOADING."""
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
