"""Answers to requests with images in V1: the best classes of each image. Pure."""

from collections.abc import Sequence

import numpy as np
import orjson

from service.core.bfloat16 import from_bfloat16
from service.core.datatypes import Array


def labelled(scores: Array, classes: int, labels: Sequence[str]) -> bytes:
    """``{"predictions": [[{"label", "index", "score"}, ...], ...]}``: for each image so many
    classes, the best first. ``scores`` [images, ...]; a class without a label has its index as
    text. A score that is NaN or infinite is null.
    """
    if scores.dtype == np.uint16:  # how BF16 is held
        scores = from_bfloat16(scores)
    rows = scores.reshape(len(scores), -1)
    best = np.argsort(-rows, axis=1, kind="stable")[:, :classes]
    predictions = [
        [
            {
                "label": labels[place] if place < len(labels) else str(place),
                "index": place,
                "score": float(row[place]),
            }
            for place in places
        ]
        for row, places in zip(rows, best.tolist(), strict=True)
    ]
    return orjson.dumps({"predictions": predictions})
