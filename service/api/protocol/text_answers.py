"""Answers to requests in text: OpenAI's embeddings, and those of Text Embeddings Inference."""

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from service.core.tensors import Array

OPTIONS = orjson.OPT_SERIALIZE_NUMPY


def embeddings(model: str, vectors: Array, tokens: int, base64: bool) -> bytes:
    """The vectors FP32 [texts, width] in OpenAI's form; in base64 they are little-endian."""
    vectors = np.ascontiguousarray(vectors, "<f4")
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": b64encode(vector.data).decode() if base64 else vector,
        }
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    document = {"object": "list", "data": data, "model": model, "usage": usage}
    return orjson.dumps(document, option=OPTIONS)


def embed(vectors: Array) -> bytes:
    """The vectors as lists."""
    return orjson.dumps(np.ascontiguousarray(vectors, np.float32), option=OPTIONS)


def rerank(scores: Array, texts: Sequence[str] | None) -> bytes:
    """The places of the texts with their scores FP32 [texts], the best first; with the ``texts`` if
    these are wanted."""
    items: list[dict[str, Any]] = []
    for place in np.argsort(-scores, kind="stable").tolist():
        item: dict[str, Any] = {"index": place, "score": scores[place]}
        if texts is not None:
            item["text"] = texts[place]
        items.append(item)
    return orjson.dumps(items, option=OPTIONS)


def predict(scores: Array, labels: Sequence[str], single: bool) -> bytes:
    """The scores FP32 [texts, labels] with their labels, the best first; a list for each text, or
    that of the only one."""
    order = np.argsort(-scores, axis=1, kind="stable").tolist()
    rows = [
        [{"score": row[place], "label": labels[place]} for place in places]
        for row, places in zip(scores, order, strict=True)
    ]
    return orjson.dumps(rows[0] if single else rows, option=OPTIONS)
