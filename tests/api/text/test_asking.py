"""Text requests of disconnected clients, large answers, and the default model of a task."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.api.language.answers import Answers
from service.api.text.asking import encoded, only_model
from service.api.transport.arrival import Limits
from service.core.errors import BadArgument, NotReady
from service.core.sizes import HERE_VALUES
from service.core.texts import Task
from tests.api.text.served import text_server


async def test_requests_of_a_disconnected_client_are_dropped(tmp_path: Path) -> None:
    async with text_server(tmp_path) as served:
        texts = ["the old dog runs"] * 4000
        asking = asyncio.ensure_future(
            served.client.post("/v1/embeddings", json={"model": "emb", "input": texts})
        )
        version = served.server.repository.version("emb")
        while not version.texts().in_flight:
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait({asking}, timeout=10)
        assert asking.cancelled() or asking.result().status_code >= 400
        await asyncio.wait_for(version.texts().drain(), 10)
        assert version.texts().in_flight == 0
        page = (await served.client.get("/metrics")).text
        assert "quantserve_traffic_bytes 0.0" in page


async def test_large_answers_are_written_in_a_thread() -> None:
    import threading

    def write() -> bytes:
        return str(threading.get_ident()).encode()

    here = write()
    assert await encoded(np.zeros(HERE_VALUES), write) == here
    assert await encoded(np.zeros(HERE_VALUES + 1), write) != here


async def test_the_only_model_of_a_task_is_the_default(tmp_path: Path) -> None:
    async with text_server(tmp_path) as served:
        limits: Any = Limits(1, 1.0, None)  # type: ignore[arg-type]
        answers = Answers(served.server.repository, limits, lambda _: None)
        assert only_model(answers, Task.RERANKING, None) == "rank"
        assert only_model(answers, Task.RERANKING, "given") == "given"
        await served.server.repository.stop()
        with pytest.raises((NotReady, BadArgument)):
            only_model(answers, Task.RERANKING, None)
