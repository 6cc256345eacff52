"""A server with the tiny language model and a classifier, in this process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from tests import tiny_models
from tests.engine.generation import tiny_llama
from tests.inprocess import Served, serve

CHAT: dict[str, Any] = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "Hello"}],
    "max_tokens": 8,
    "temperature": 0,
}


@asynccontextmanager
async def language_server(folder: Path) -> AsyncIterator[Served]:
    """Serve ``tiny``, versions 1 and 2, and ``same_fp32``, which accepts tensors."""
    for number in (1, 2):
        tiny_llama.write(folder / f"tiny/{number}", seed=number)
    tiny_models.identity(folder, "FP32")
    async with serve(folder) as served:
        yield served


def events(body: bytes) -> list[Any]:
    """Return the documents of a stream, without the end mark."""
    data = [line[6:] for line in body.split(b"\n\n") if line.startswith(b"data: ")]
    return [orjson.loads(each) for each in data if each != b"[DONE]"]
