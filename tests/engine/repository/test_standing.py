"""The served versions of a model as a value, and their restoration in another process."""

import json
from pathlib import Path

import pytest

from service.engine.repository.standing import Standing, restore, standing_of
from tests.opened import SWAP, Opened, opened
from tests.repositories import put, scale


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in (1, 2, 3):
        put(tmp_path, "m", number, scale(number))
    return tmp_path


def standing(it: Opened) -> Standing:
    found = standing_of(it.repository.model("m"))
    assert found is not None
    return found


async def test_a_standing_survives_json(root: Path) -> None:
    async with opened(root) as it:
        await it.swap(1)
        found = standing(it)
        assert (found.serving, found.previous, found.loaded) == (1, 3, (1, 3))
        told = json.loads(json.dumps(found.to_json()))
        assert Standing.from_json(told) == found


async def test_restore_serves_the_same_versions_in_another_process(root: Path) -> None:
    async with opened(root) as first:
        await first.repository.swap("m", 2, SWAP)
        async with opened(root) as other:
            await other.swap(1)
            model = other.repository.model("m")
            await restore(model, standing(first), other.repository._context)
            assert await other.factor() == 2
            assert standing(other).loaded == standing(first).loaded
            assert standing(other).previous == standing(first).previous


async def test_restore_unloads_models_that_were_unloaded(root: Path) -> None:
    async with opened(root) as first, opened(root) as other:
        await first.repository.unload("m")
        found = standing(first)
        assert found.unloaded and found.loaded == ()
        model = other.repository.model("m")
        await restore(model, found, other.repository._context)
        assert standing(other).loaded == () and model.serving is None
