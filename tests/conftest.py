"""Shared fixtures: the shipped models, served in this process on the event loop of the test run."""

from collections.abc import AsyncIterator

import httpx
import pytest_asyncio
from hypothesis import settings

from tests.inprocess import ROOT, Served, serve

pytest_plugins = ["tests.skips"]

# How long an example takes says something of the machine and nothing of the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def served() -> AsyncIterator[Served]:
    """The server and a client of it."""
    async with serve(ROOT / "models") as each:
        yield each


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def client(served: Served) -> httpx.AsyncClient:
    """The client only."""
    return served.client
