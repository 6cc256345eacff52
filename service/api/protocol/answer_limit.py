"""Refuses an answer that is larger than the server's limit, before it is built."""

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
import orjson

from service.core.answer_size import (
    BRACKETS,
    FRAME,
    brackets,
    class_size,
    classes_count,
    json_size,
    keys_size,
    nested_size,
    raw_size,
    text_size,
)
from service.core.bfloat16 import from_bfloat16
from service.core.errors import ResponseTooLarge
from service.core.requests import InferRequest, RequestedOutput
from service.core.sizes import HERE_VALUES
from service.core.tensors import Array, Arrays, Tensor

SLIGHT = 512
"""Each byte of a tensor becomes fewer than this many bytes of an answer without classes; names and
frames not counted."""
LONGEST_ID = 64
STEP = 2**16
"""Elements that are encoded at once to count their bytes."""
SAMPLE = 4096
MARGIN = 1.05
"""The mean text length of ``SAMPLE`` random numbers differs from that of all numbers by a few
percent. Encoding all numbers would take as long as the answer. Strings differ too much for this."""
OBJECT = 64
"""Bytes of a number or a short string as a Python object in a list."""
LIST = 96
"""Bytes of a list in a list, without its items."""


class Size(NamedTuple):
    """The maximum number of bytes of an answer, and the most bytes of additional memory to build
    it."""

    answer: int
    building: int = 0

    def __add__(self, other: object) -> "Size":
        assert isinstance(other, Size)
        return Size(self.answer + other.answer, self.building + other.building)


def slight(limit: int) -> int:
    """Return the most bytes of tensors for which the answer is within the limit for any values, and
    is fast to encode. For ``is_slight``."""
    return min(limit // SLIGHT, HERE_VALUES)


def is_slight(request: InferRequest, outputs: Arrays, most: int) -> bool:
    """Return True if an answer is so small that its size and cost need not be computed. Nearly all
    answers are that small."""
    total = 0
    for array in outputs:
        size = array.nbytes
        if not size or array.dtype.hasobject:  # an empty tensor may be many lists
            return False
        total += size + FRAME
    if total > most or len(request.id) > LONGEST_ID:
        return False
    for each in request.outputs:  # noqa: SIM110 - a generator takes longer, and all requests pass
        if each.classes:
            return False
    return True


def v2_size(
    request: InferRequest,
    tensors: Sequence[Tensor],
    labels: Sequence[Sequence[str]],
    batched: bool,
    limit: int,
) -> Size:
    """Return the size of an answer in the v2 protocol. ``labels`` has the labels of each output.

    Raises:
        ResponseTooLarge: the size is more than ``limit`` bytes.
    """
    wanted = request.outputs or [RequestedOutput(tensor.name) for tensor in tensors]
    total = Size(FRAME + text_size(request.id))
    for each, tensor, names in zip(wanted, tensors, labels, strict=True):
        binary = each.is_binary(request.binary_outputs)
        part = Size(0)
        if each.classes:
            count = classes_count(tensor, each.classes, batched)
            # The order of all classes, as integers, in addition to the texts.
            part = Size(
                count * class_size(tensor, names), 3 * 8 * tensor.array.size + 2 * OBJECT * count
            )
        elif binary:
            part = Size(raw_size(tensor))
        else:
            part = Size(json_size(tensor))
            if total.answer + part.answer > limit:
                part = Size(_written(tensor, nested=False, most=limit))
        if tensor.datatype.name == "BYTES":
            part += Size(0, OBJECT * tensor.array.size)
        total += part + Size(FRAME + text_size(tensor.name))
        check_size(total.answer, limit)
    return total


def v1_size(tensors: Sequence[Tensor], limit: int) -> Size:
    """Return the size of an answer in the V1 protocol, whose encoder builds a Python object per
    element.

    Raises:
        ResponseTooLarge: the size is more than ``limit`` bytes.
    """
    total = Size(FRAME)
    for tensor in tensors:
        size = nested_size(tensor)
        if total.answer + size > limit:
            size = _written(tensor, nested=True, most=limit)
        keys = keys_size(tensor) if len(tensors) > 1 else 0
        lists = LIST * (brackets(tensor.array.shape) // BRACKETS)
        total += Size(size + keys, lists + OBJECT * tensor.array.size + 8 * keys)
        check_size(total.answer, limit)
    return total


def check_size(size: int, limit: int) -> None:
    """Refuse an answer whose size is over the limit.

    Raises:
        ResponseTooLarge: the size is more than ``limit``.
    """
    if size > limit:
        raise ResponseTooLarge(
            f"the answer would have about {size} bytes, at most {limit} are allowed"
            " (--max-response-bytes): request fewer outputs, rows or classes, or binary data"
        )


def _written(tensor: Tensor, nested: bool, most: int) -> int:
    """Return the bytes of the elements in JSON. For many numbers, estimate them from a sample.
    Otherwise encode the elements in pieces to count the bytes, until there are more than ``most``.
    """
    total = brackets(tensor.array.shape) if nested else 0
    flat = tensor.array.reshape(-1)
    if flat.size > STEP and not flat.dtype.hasobject:
        places = np.random.default_rng().integers(flat.size, size=SAMPLE)
        share = _piece(tensor, flat[places], nested) / SAMPLE
        return total + ceil(MARGIN * share * flat.size)
    for start in range(0, flat.size, STEP):
        total += _piece(tensor, flat[start : start + STEP], nested)
        if total > most:
            break
    return total


def _piece(tensor: Tensor, piece: Array, nested: bool) -> int:
    if tensor.datatype.name == "BF16":
        piece = from_bfloat16(piece)
    listed = nested or piece.dtype.hasobject
    text = orjson.dumps(piece.tolist() if listed else piece, option=orjson.OPT_SERIALIZE_NUMPY)
    # "-Infinity" instead of "null".
    infinite = int(np.count_nonzero(np.isinf(piece))) if piece.dtype.kind == "f" else 0
    return len(text) + 5 * infinite
