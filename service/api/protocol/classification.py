"""Triton's classification extension: the best classes of a row instead of its values. No I/O."""

from collections.abc import Sequence
from math import prod

import numpy as np

from service.core.bfloat16 import from_bfloat16
from service.core.errors import MalformedRequest
from service.core.sizes import MAX_STRINGS
from service.core.tensors import DATATYPES, Tensor


def classify(tensor: Tensor, classes: int, labels: Sequence[str], batched: bool) -> Tensor:
    """Return the best classes of each row as BYTES "value:index[:label]", the best first."""
    array = tensor.array
    if tensor.datatype.kind not in ("number", "integer") or not array.shape:
        raise MalformedRequest(f'output "{tensor.name}" is {tensor.datatype}: it has no classes')
    if tensor.datatype.name == "BF16":
        array = from_bfloat16(array)
    # Not -1: numpy cannot compute it if there are no rows.
    size = prod(array.shape[1:]) if batched else array.size
    rows = array.reshape(len(array) if batched else 1, size)
    count = min(classes, rows.shape[1])
    if count * len(rows) > MAX_STRINGS:
        raise MalformedRequest(
            f'output "{tensor.name}" would have {count * len(rows)} classes,'
            f" at most {MAX_STRINGS} are allowed at once"
        )
    # Inverting the bits of integers sorts the largest first, without a conversion to double. Equal
    # values keep their order, and NaN comes last.
    whole = tensor.datatype.kind == "integer"
    best = np.argsort(~rows if whole else -rows, axis=1, kind="stable")[:, :count]
    form = "d" if whole else "f"
    texts = [
        [f"{row[i]:{form}}:{i}" + (f":{labels[i]}" if i < len(labels) else "") for i in chosen]
        for row, chosen in zip(rows, best, strict=True)
    ]
    result = np.array(texts, dtype=object).reshape((len(rows), count) if batched else (count,))
    return Tensor(tensor.name, DATATYPES["BYTES"], result)
