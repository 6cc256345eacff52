"""The default model of a task."""

from pathlib import Path

import pytest

from service.api.text.choosing import only_model, with_task
from service.core.errors import BadArgument, NotReady
from service.core.texts import Task
from tests.api.text.served import text_server


async def test_models_are_found_by_their_task_while_they_are_ready(tmp_path: Path) -> None:
    async with text_server(tmp_path) as served:
        repository = served.server.repository
        assert [each.model for each in with_task(repository, Task.RERANKING)] == ["rank"]
        await repository.stop()
        assert not with_task(repository, Task.RERANKING)


def test_the_only_model_is_the_default() -> None:
    assert only_model(Task.RERANKING, ["rank"]) == "rank"
    with pytest.raises(NotReady, match="no model with the task reranking"):
        only_model(Task.RERANKING, [])
    with pytest.raises(BadArgument, match='"a", "b"'):
        only_model(Task.RERANKING, ["b", "a"])
