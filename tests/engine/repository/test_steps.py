"""Steps load the versions on disk; a step that fails has a reason."""

import threading
from pathlib import Path

import pytest

from service.core.checks import Check
from service.core.gate import memory_check
from service.engine.loading.turns import Turns
from service.engine.repository import rollout
from tests.opened import opened
from tests.repositories import put, scale


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in (1, 2):
        put(tmp_path, "m", number, scale(number))
    return tmp_path


@pytest.mark.parametrize(
    ("settings", "loaded"),
    [
        ("", {3}),
        ("policy = 'latest'\ncount = 2", {2, 3}),
        ("policy = 'all'", {1, 2, 3}),
        ("policy = 'specific'\nnumbers = [1, 2]", {1, 2}),
    ],
)
async def test_the_version_policy_decides_what_is_loaded(
    root: Path, settings: str, loaded: set[int]
) -> None:
    put(root, "m", 3, scale(3))
    (root / "m/model.toml").write_text(f"[versions]\n{settings}")
    async with opened(root) as it:
        ready = {n for n, state in it.states().items() if state == "READY"}
        assert ready == loaded and await it.factor() == max(loaded)


async def test_a_failed_version_does_not_affect_other_versions(root: Path) -> None:
    put(root, "m", 3, b"junk")
    (root / "m/model.toml").write_text("[versions]\npolicy = 'all'")
    async with opened(root) as it:
        assert await it.factor(1) == 1 and await it.factor() == 2
        assert it.states()[3].startswith("UNAVAILABLE load: model.onnx is not an ONNX model")


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
