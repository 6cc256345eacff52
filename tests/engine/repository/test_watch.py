"""Poll mode survives any error in the folder, and reports it once."""

import asyncio
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.core.errors import ConfigError
from service.core.events import Event, Polled
from service.engine.repository.context import Context
from service.engine.repository.repository import ModelRepository
from service.engine.repository.watch import watch
from service.engine.storage.root import Root
from tests.opened import opened
from tests.repositories import put, scale


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in (1, 2):
        put(tmp_path, "m", number, scale(number))
    return tmp_path


async def test_the_watch_logs_an_error_once_and_continues(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(root) as it:
        shutil.move(root / "m", root / ".away")
        watching = asyncio.create_task(watch(it.repository, 0.001))
        while not caplog.messages:
            await asyncio.sleep(0)
        shutil.move(root / ".away", root / "m")
        put(root, "m", 3, scale(3))
        while await it.factor() != 3:
            await asyncio.sleep(0)
        watching.cancel()
    assert len([m for m in caplog.messages if "is empty" in m]) == 1


async def test_the_watch_survives_any_exception_and_reports_each_poll(
    root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Event] = []
    async with opened(root) as it:
        with monkeypatch.context() as broken:
            broken.setattr(Root, "read", _raise(RecursionError("too deep")))
            watching = asyncio.create_task(watch(it.repository, 0.001, told.append))
            while len(told) < 3:
                await asyncio.sleep(0)
        while told[-1] != Polled():
            await asyncio.sleep(0)
        watching.cancel()
    assert told[0] == Polled("the models folder cannot be followed: RecursionError: too deep")
    errors = [r.message for r in caplog.records if r.levelno == logging.ERROR]
    assert len([e for e in errors if "cannot be followed" in e]) == 1


async def test_the_watch_loads_a_repository_unreadable_at_the_start(
    root: Path,
) -> None:
    repository = ModelRepository(root / "later", Context(1, lambda _: None))
    with pytest.raises(ConfigError):
        await repository.load_all()
    watching = asyncio.create_task(watch(repository, 0.001))
    put(root / "later", "m", 1, scale(4))
    while not repository.ready:
        await asyncio.sleep(0)
    watching.cancel()
    await repository.stop()


def _raise(error: Exception) -> Callable[..., Any]:
    def call(*_: Any) -> Any:
        raise error

    return call
