"""The shipped models, served in this process. Tests share them, and the session's event loop."""

from collections.abc import AsyncIterator

import httpx
import pytest_asyncio

from tests.inprocess import ROOT, Served, serve


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def served() -> AsyncIterator[Served]:
    """The server and a client of it."""
    async with serve(ROOT / "models") as each:
        yield each


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def client(served: Served) -> httpx.AsyncClient:
    """The client alone."""
    return served.client
