"""A load that fails because of the memory of another load is tried again."""

import threading
from pathlib import Path

import pytest

from service.core.checks import Check
from service.core.gate import memory_check
from service.engine.loading.turns import Turns
from service.engine.repository import rollout
from tests.opened import opened
from tests.repositories import put, scale


async def test_memory_of_a_load_that_has_ended_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``a`` is loading until ``b`` has been refused because of the memory that ``a`` holds."""
    refused = threading.Event()
    for name in ("a", "b"):
        put(tmp_path, name, 1, scale(2))

    def check(path: Path, budget: int, promised: int) -> Check:
        assert promised == 0
        if path.parts[-3] == "a":
            assert refused.wait(60)
            return memory_check(2, 1)
        first = not refused.is_set()
        refused.set()
        return memory_check(2 if first else 1, 1)

    monkeypatch.setattr(rollout, "room_check", check)
    monkeypatch.setattr(rollout, "budget_check", lambda budget, promised: memory_check(1, 1))
    async with opened(tmp_path, budget=1, turns=Turns(stagger=0.0)) as it:
        assert await it.factor(name="b") == 2
        (row,) = it.states("a").values()
        assert row == "UNAVAILABLE memory: bytes of the process is 2, required at most 1"
