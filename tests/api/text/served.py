"""A server with tiny models that accept texts, and a classifier of tensors, in this process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests import tiny_models, tiny_texts
from tests.inprocess import Served, serve


@asynccontextmanager
async def text_server(folder: Path, **settings: Any) -> AsyncIterator[Served]:
    """Serve ``emb``, ``cls``, ``rank`` and ``tag``, one model for each task, and ``same_fp32``."""
    tiny_texts.embedder(folder / "emb/1")
    tiny_texts.classifier(folder / "cls")  # a folder without versions, as Optimum exports it
    tiny_texts.reranker(folder / "rank/1")
    tiny_texts.tagger(folder / "tag/1")
    tiny_models.identity(folder, "FP32")
    async with serve(folder, **settings) as served:
        yield served


def infer_texts(*texts: str, outputs: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Return a v2 request with these texts."""
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": list(texts)}
    return {"inputs": [tensor]} | ({"outputs": outputs} if outputs else {})
