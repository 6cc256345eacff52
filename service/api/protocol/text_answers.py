"""Answers to text requests: OpenAI's embeddings, and those of Text Embeddings Inference."""

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from service.core.tensors import Array

OPTIONS = orjson.OPT_SERIALIZE_NUMPY


def embeddings(model: str, vectors: Array, tokens: int, base64: bool) -> bytes:
    """Return vectors, FP32 [texts, width], in OpenAI's format; in base64 they are little-endian."""
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
    """Return vectors as lists."""
    return orjson.dumps(np.ascontiguousarray(vectors, np.float32), option=OPTIONS)


def rerank(scores: Array, texts: Sequence[str] | None) -> bytes:
    """Return the index and score of each text, the best first, with the ``texts`` if they are not
    None. ``scores`` is FP32 [texts]."""
    items: list[dict[str, Any]] = []
    for place in np.argsort(-scores, kind="stable").tolist():
        item: dict[str, Any] = {"index": place, "score": scores[place]}
        if texts is not None:
            item["text"] = texts[place]
        items.append(item)
    return orjson.dumps(items, option=OPTIONS)


def predict(scores: Array, labels: Sequence[str], single: bool) -> bytes:
    """Return a list of labels and their scores for each text, the best first. ``scores`` is FP32
    [texts, labels]. If ``single``, return only the list of the only text."""
    order = np.argsort(-scores, axis=1, kind="stable").tolist()
    rows = [
        [{"score": row[place], "label": labels[place]} for place in places]
        for row, places in zip(scores, order, strict=True)
    ]
    return orjson.dumps(rows[0] if single else rows, option=OPTIONS)
