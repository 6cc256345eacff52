"""The only model with a task, in this worker and in dedicated workers."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from service.core.errors import BadArgument, NotReady
from service.core.texts import Task
from service.workers import tasks
from service.workers.tasks import Tasks
from tests.api.text.served import text_server


class Worker:
    """A dedicated worker that describes its model."""

    def __init__(self, model: str, task: str | None, status: int = 200) -> None:
        self.model, self.task, self.status = model, task, status
        self.error: Exception | None = None
        self.hangs = False
        self.asked: list[Any] = []

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.append(scope)
        if self.error is not None:
            raise self.error
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(0)
        body = orjson.dumps({"parameters": {"task": self.task} if self.task else {}})
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": body})


def of(*workers: Worker, repository: Any = None) -> Tasks:
    class Empty:
        serving = ()

    found: Any = {each.model: each for each in workers}
    return Tasks(repository or Empty(), found)


async def test_the_only_model_with_the_task_is_found() -> None:
    it = of(Worker("a", "embedding"), Worker("b", "reranking"), Worker("c", None))
    assert await it.only(Task.EMBEDDING, []) == "a"
    assert await it.only(Task.RERANKING, []) == "b"
    assert await it.only(Task.CLASSIFICATION, []) is None


async def test_several_models_are_named() -> None:
    with pytest.raises(BadArgument, match='"a", "b"'):
        await of(Worker("b", "embedding"), Worker("a", "embedding")).only(Task.EMBEDDING, [])


async def test_models_of_this_worker_count(tmp_path: Path) -> None:
    async with text_server(tmp_path) as served:
        repository = served.server.repository
        with pytest.raises(BadArgument, match='"a", "emb"'):
            await of(Worker("a", "embedding"), repository=repository).only(Task.EMBEDDING, [])
        it = of(Worker("a", "embedding"), repository=repository)
        assert await it.only(Task.RERANKING, []) is None  # this worker answers


async def test_a_model_that_is_not_ready_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "MOST_SECONDS", 0.01)
    ended, loading, hung = (Worker(name, "embedding", 503) for name in "abc")
    ended.error, hung.hangs = NotReady("it is starting"), True
    it = of(ended, loading, hung, Worker("d", "embedding"))
    assert await it.only(Task.EMBEDDING, []) == "d"


async def test_workers_are_asked_once_a_second_with_the_keys_of_a_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = Worker("a", "embedding")
    it = of(worker)
    headers = [(b"content-length", b"7"), (b"x-api-key", b"k")]
    found = await asyncio.gather(*(it.only(Task.EMBEDDING, headers) for _ in range(5)))
    assert found == ["a"] * 5
    (asked,) = worker.asked
    assert (asked["path"], asked["headers"]) == ("/v2/models/a", [(b"x-api-key", b"k")])
    monkeypatch.setattr(tasks, "KNOWN_SECONDS", 0.0)
    worker.task = "reranking"
    assert await it.only(Task.EMBEDDING, headers) is None
