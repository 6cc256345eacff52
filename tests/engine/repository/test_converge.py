"""Versions on disk that should be in memory are loaded; a version that fails has a reason."""

from pathlib import Path

import pytest

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
