"""A server is announced once its models are loaded and it accepts connections."""

import asyncio
import gc
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from service.config.settings import Settings
from service.core.crashes import Crashes
from service.core.errors import ConfigError
from service.start import Start


@dataclass
class Repository:
    """Loads nothing, when ``may_load`` allows it."""

    problem: ConfigError | None = None
    may_load: asyncio.Event = field(default_factory=asyncio.Event)

    async def load_all(self) -> None:
        await self.may_load.wait()
        if self.problem:
            raise self.problem


@dataclass
class Started:
    """A start, what it loads, the paths that it rehearsed, and a future of its announcement."""

    start: Start
    repository: Repository
    paths: list[str]
    announced: asyncio.Future[Any]


def started(folder: Path, crashes: Crashes | None = None, **settings: Any) -> Started:
    repository: Any = Repository()
    paths: list[str] = []
    announced: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def control(scope: Any, receive: Any, send: Any) -> None:
        paths.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    given = (Settings(models=folder, **settings), repository, control, None, crashes or Crashes())
    start = Start(*given, announced.set_result, lambda _: None)
    return Started(start, repository, paths, announced)


@pytest.fixture(autouse=True)
def unfrozen() -> Iterator[None]:
    yield
    gc.unfreeze()


async def test_a_server_is_announced_when_it_is_loaded_and_listens(tmp_path: Path) -> None:
    made = started(tmp_path)
    await made.start.begin()  # does not wait for the models
    made.start.listening()
    await asyncio.sleep(0)
    assert not made.announced.done()
    made.repository.may_load.set()
    async with asyncio.timeout(10):
        assert await made.announced is made.repository
    assert made.paths == ["/v2/health/live", "/metrics"]


async def test_loading_is_not_announced_before_the_server_listens(tmp_path: Path) -> None:
    made = started(tmp_path)
    made.repository.may_load.set()
    await made.start.begin()
    async with asyncio.timeout(10):
        while len(made.paths) < 2:
            await asyncio.sleep(0.001)
    assert not made.announced.done()
    made.start.listening()
    async with asyncio.timeout(10):
        await made.announced


async def test_a_folder_that_cannot_be_read_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = started(tmp_path)
    made.repository.problem = ConfigError("no such folder")
    made.repository.may_load.set()
    with caplog.at_level(logging.ERROR, "quantserve"):
        await made.start.begin()
        made.start.listening()
        async with asyncio.timeout(10):
            while not caplog.messages:
                await asyncio.sleep(0.001)
    assert "will not be ready: no such folder" in caplog.messages[0]
    assert not made.announced.done()


async def test_a_server_that_polls_is_announced_without_its_folder(tmp_path: Path) -> None:
    made = started(tmp_path, poll=60)
    made.repository.problem = ConfigError("no such folder")
    made.repository.may_load.set()
    await made.start.begin()
    made.start.listening()
    async with asyncio.timeout(10):
        await made.announced
    made.start.cancel()


async def test_after_a_crash_connections_wait_for_the_models(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = started(tmp_path, Crashes({("SIGSEGV", ""): 2}, last="SIGSEGV"))
    with caplog.at_level(logging.ERROR, "quantserve"):
        begun = asyncio.ensure_future(made.start.begin())
        await asyncio.sleep(0)
        assert not begun.done()
        made.repository.may_load.set()
        async with asyncio.timeout(10):
            await begun
    assert "replaced a server that died of SIGSEGV (crash 2)" in caplog.messages
    made.start.cancel()


async def test_a_start_can_be_cancelled_at_any_time(tmp_path: Path) -> None:
    made = started(tmp_path)
    made.start.cancel()
    await made.start.begin()
    made.start.cancel()
    made.start.listening()
    made.repository.may_load.set()
    async with asyncio.timeout(10):
        await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})
    assert not made.announced.done()
