"""Text requests of disconnected clients, and large answers."""

import asyncio
from pathlib import Path

import numpy as np

from service.api.text.asking import encoded
from service.core.sizes import HERE_VALUES
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
