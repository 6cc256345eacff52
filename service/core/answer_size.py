"""Upper bounds of an answer's size in bytes, computed from its outputs before it is encoded.

The size of raw tensors is exact. JSON is bounded by the longest text of each element: a tighter
bound would need the text itself.
"""

from collections.abc import Sequence
from math import prod

from service.core.tensors import Tensor

LONGEST = {
    "BOOL": len("false,"),
    "UINT8": 3 + 1,
    "INT8": 4 + 1,
    "UINT16": 5 + 1,
    "INT16": 6 + 1,
    "UINT32": 10 + 1,
    "INT32": 11 + 1,
    "UINT64": 20 + 1,
    "INT64": 20 + 1,
    "FP16": 19 + 1,
    "BF16": 19 + 1,
    "FP32": 19 + 1,
    "FP64": 25 + 1,
}
"""The maximum number of characters of an element in JSON, its comma included. A float is written
with as few digits as its datatype allows."""
LONGEST_CLASS = {"FP16": 5 + 8, "FP64": 309 + 8}
"""The maximum number of characters of a value with six decimals: 39 + 8 for other floats,
``LONGEST`` for integers."""
FRAME = 256
"""Bytes of an answer without its names and elements, and the same again for each output."""
ESCAPED = 6
r"""The maximum number of bytes of one character in JSON: \u001f has six."""
BRACKETS = 3
"""Bytes around a nested list: two brackets and a comma."""
KEY = 4
"""Bytes around a key: two quotes, a colon and a comma."""


def text_size(text: str) -> int:
    """Return the most bytes that a string needs in JSON."""
    return ESCAPED * len(text) + BRACKETS


def raw_size(tensor: Tensor) -> int:
    """Return the bytes of a tensor in the protocol's binary form: exact, except that strings get
    an upper bound."""
    if tensor.datatype.name != "BYTES":
        return tensor.array.nbytes
    return 4 * tensor.array.size + 4 * _characters(tensor)


def json_size(tensor: Tensor) -> int:
    """Return the most bytes that a flat list of a tensor's elements needs in JSON."""
    if tensor.datatype.name != "BYTES":
        return tensor.array.size * LONGEST[tensor.datatype.name]
    return tensor.array.size * BRACKETS + ESCAPED * _characters(tensor)


def nested_size(tensor: Tensor) -> int:
    """Return the most bytes that nested lists of a tensor's elements need in JSON. Floats are
    written as doubles."""
    lists = brackets(tensor.array.shape)
    if tensor.datatype.kind == "number":
        return lists + tensor.array.size * LONGEST["FP64"]
    return lists + json_size(tensor)


def brackets(shape: Sequence[int]) -> int:
    """Return the bytes of the brackets of nested lists, with their commas."""
    return BRACKETS * (1 + sum(prod(shape[:axis]) for axis in range(1, len(shape))))


def keys_size(tensor: Tensor) -> int:
    """Return the bytes of the tensor's name as a key, in one object for each row."""
    rows = len(tensor.array) if tensor.array.ndim else 1
    return rows * (text_size(tensor.name) + KEY)


def classes_count(tensor: Tensor, classes: int, batched: bool) -> int:
    """Return the number of texts for the best ``classes`` of each row."""
    shape = tensor.array.shape
    if not batched or not shape:
        return min(classes, tensor.array.size)
    return int(shape[0]) * min(classes, prod(shape[1:]))


def class_size(tensor: Tensor, labels: Sequence[str]) -> int:
    """Return the most bytes of the text "value:index[:label]" of a class, with its quotes."""
    name, kind = tensor.datatype.name, tensor.datatype.kind
    value = LONGEST_CLASS.get(name, 39 + 8) if kind == "number" else LONGEST.get(name, 0)
    index = len(str(tensor.array.size)) + 1
    label = ESCAPED * (1 + max(map(len, labels), default=0)) if labels else 0
    return value + index + label + BRACKETS + 1


def _characters(tensor: Tensor) -> int:
    texts: list[str] = tensor.array.ravel().tolist()
    return sum(map(len, texts))
