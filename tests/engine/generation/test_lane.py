"""A thread that decodes: each step is told, a failure is that of its requests alone."""

import asyncio
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from service.core.errors import ExecutionFailed
from service.core.generation import Delta
from service.engine.generation.lane import Lane, Report, Shared
from tests.engine.generation.tiny_batcher import batcher, language, request, whole
from tests.patience import PATIENCE


def test_a_lane_ends_when_its_model_is_closed(tmp_path: Path) -> None:
    told: list[Report | None] = []
    ended = Event()

    def tell(_: Lane, report: Report | None) -> None:
        told.append(report)
        if report is None:
            ended.set()

    shared = Shared(10)
    Lane(language(tmp_path).decoders[0], shared, 16, tell).start("lane")
    with shared.news:
        shared.closed = True
        shared.news.notify_all()
    assert ended.wait(PATIENCE) and told == [None]


async def test_what_fails_is_told_and_the_lane_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with batcher(tmp_path) as engine:
        decoder = engine._language.decoders[0]
        read = decoder.read

        def broken(row: int, tokens: Any, start: int) -> Any:
            if len(tokens) == 13:
                raise RuntimeError("a secret")
            return read(row, tokens, start)

        monkeypatch.setattr(type(decoder), "read", lambda _, *args: broken(*args))
        good = asyncio.ensure_future(whole(engine.generate(request(seed=1, max_tokens=30))))
        with pytest.raises(ExecutionFailed, match="internal error"):
            await whole(engine.generate(request(seed=2, length=13)))
        found: Delta = await good
        assert found.tokens == 30
        assert (await whole(engine.generate(request(seed=3, max_tokens=4)))).tokens == 4
