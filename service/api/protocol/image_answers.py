"""Answers to requests with images in V1: the best classes of each image. No I/O."""

from collections.abc import Sequence

import numpy as np
import orjson

from service.core.bfloat16 import from_bfloat16
from service.core.datatypes import Array


def labelled(scores: Array, classes: int, labels: Sequence[str]) -> bytes:
    """Return ``{"predictions": [[{"label", "index", "score"}, ...], ...]}``: for each image, the
    ``classes`` best classes, the best first. ``scores`` has the shape [images, ...]. The label of a
    class without a label is its index as text. A score that is NaN or infinite is null.
    """
    if scores.dtype == np.uint16:  # BF16 is stored like this
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
