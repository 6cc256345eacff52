"""Refuses an answer that is larger than the server gives, before it is built."""

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
"""A byte of a tensor becomes fewer bytes of an answer without classes, names and frames apart."""
LONGEST_ID = 64
STEP = 2**16
"""Elements that are written at once to count their bytes."""
SAMPLE = 4096
MARGIN = 1.05
"""Of so many numbers at random places the text is as long as that of all, to a few hundredths; to
write all of them would take as long as the answer does. Strings differ too much for that."""
OBJECT = 64
"""Bytes that a number or a short string takes as a Python object in a list."""
LIST = 96
"""Bytes of a list in a list, beside those of its items."""


class Size(NamedTuple):
    """The most bytes of an answer, and of the memory to build it beside that."""

    answer: int
    building: int = 0

    def __add__(self, other: object) -> "Size":
        assert isinstance(other, Size)
        return Size(self.answer + other.answer, self.building + other.building)


def slight(limit: int) -> int:
    """The most bytes of tensors whose answer is within the limit for any values, and is written at
    once; for ``is_slight``."""
    return min(limit // SLIGHT, HERE_VALUES)


def is_slight(request: InferRequest, outputs: Arrays, most: int) -> bool:
    """Whether an answer is so small that neither its size nor its cost need be worked out: nearly
    all are."""
    total = 0
    for array in outputs:
        size = array.nbytes
        if not size or array.dtype.hasobject:  # nothing in lists may be many lists
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
    """The size of an answer in the v2 protocol; ``labels`` are those of each output.

    Raises:
        ResponseTooLarge: it is more than ``limit`` bytes.
    """
    wanted = request.outputs or [RequestedOutput(tensor.name) for tensor in tensors]
    total = Size(FRAME + text_size(request.id))
    for each, tensor, names in zip(wanted, tensors, labels, strict=True):
        binary = request.binary_outputs if each.binary is None else each.binary
        part = Size(0)
        if each.classes:
            count = classes_count(tensor, each.classes, batched)
            # The order of all classes, as integers, beside the texts.
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
    """Size of an answer in the V1 protocol, whose encoder builds a Python object per element.

    Raises:
        ResponseTooLarge: it is more than ``limit`` bytes.
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
        ResponseTooLarge: it is more than ``limit``.
    """
    if size > limit:
        raise ResponseTooLarge(
            f"the answer would have about {size} bytes, at most {limit} are given"
            " (--max-response-bytes): ask for fewer outputs, rows or classes, or for binary data"
        )


def _written(tensor: Tensor, nested: bool, most: int) -> int:
    """Bytes of the elements in JSON: of strings and of few numbers exactly, written in pieces that
    are thrown away, until soon after ``most``; of many numbers as a sample has it."""
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
    # "-Infinity" in the place of "null".
    infinite = int(np.count_nonzero(np.isinf(piece))) if piece.dtype.kind == "f" else 0
    return len(text) + 5 * infinite
