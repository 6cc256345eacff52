"""The reason why a server is not ready."""

from pathlib import Path

from service.core.lifecycle import State
from service.engine.repository.context import Context
from service.engine.repository.readiness import why_not_ready
from service.engine.repository.repository import ModelRepository
from tests.opened import opened
from tests.repositories import put, scale


async def test_the_reason_is_starting_before_the_load_and_stopping_at_the_end(
    tmp_path: Path,
) -> None:
    put(tmp_path, "m", 1, scale(1))
    repository = ModelRepository(tmp_path, Context(1, lambda _: None))
    assert why_not_ready(repository) == "the server is starting or stopping"
    await repository.load_all()
    repository.begin_stop()
    assert why_not_ready(repository) == "the server is starting or stopping"
    await repository.stop()


async def test_loading_versions_are_named(tmp_path: Path) -> None:
    put(tmp_path, "a", 1, scale(1))
    put(tmp_path, "b", 2, scale(1))
    told: set[str] = set()
    async with opened(tmp_path) as it:
        it.hooks.append(lambda _: told.add(why_not_ready(it.repository)))
        for name in "ab":
            await it.repository.unload(name)
            await it.repository.load(name)
        assert it.repository.model("b").versions[2].state is State.READY
    assert {"loading a version 1", "loading b version 2"} <= told


async def test_reasons_of_failed_versions_are_listed_and_bounded(tmp_path: Path) -> None:
    for name in ("a", "b"):
        put(tmp_path, name, 1, b"junk")
    async with opened(tmp_path) as it:
        told = why_not_ready(it.repository)
        assert told.startswith("nothing to serve: a: version 1: load: model.onnx is not an ONNX")
        assert "; b: version 1: load: " in told and "more" not in told
    (tmp_path / "my model").mkdir()
    (tmp_path / "torch").mkdir()
    async with opened(tmp_path) as it:
        told = why_not_ready(it.repository)
        assert "my model: " in told
        assert told.endswith("; and 1 more, see POST /v2/repository/index")


def test_an_empty_folder_error_describes_the_layout(tmp_path: Path) -> None:
    repository = ModelRepository(tmp_path, Context(1, lambda _: None), allow_empty=True)
    repository.started = True
    assert why_not_ready(repository) == (
        "nothing to serve: the models folder holds no model,"
        " expected <name>/1/model.onnx or <name>/model.onnx in it"
    )
