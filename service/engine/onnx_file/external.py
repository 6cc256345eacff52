"""The location of a tensor's external data: its file, offset and length.

Source: https://github.com/onnx/onnx/blob/main/docs/ExternalData.md
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from service.core.graph_limits import elements
from service.engine.onnx_file.protobuf import WireError, fields, text, view

# onnx.proto, TensorProto.DataType; strings have no fixed size and are never external.
BITS = {
    **dict.fromkeys((1, 6, 12), 32),
    **dict.fromkeys((2, 3, 9, 17, 18, 19, 20, 24), 8),
    **dict.fromkeys((4, 5, 10, 16), 16),
    **dict.fromkeys((7, 11, 13, 14), 64),
    15: 128,
    **dict.fromkeys((21, 22, 23), 4),
    **dict.fromkeys((25, 26), 2),
}
NUMBER = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class ExternalData:
    """A file that a tensor names, and the number of bytes that the file must have for it."""

    location: str
    tensor: str
    end: int


def external_data(
    tensor: str, entries: Iterable[tuple[str, str]], datatype: int, dims: Iterable[int]
) -> Iterator[ExternalData]:
    """Yield the locations in the ``external_data`` entries of one tensor.

    Raises:
        WireError: the offset or length is not a number.
    """
    given = list(entries)
    numbers = {key: _number(tensor, key, value) for key, value in given if key != "location"}
    # A length of 0 stands for no length, as in ONNX Runtime.
    size = max(bytes_of(datatype, dims), numbers.get("length", 0)) if given else 0
    end = numbers.get("offset", 0) + size
    for key, value in given:
        if key == "location":
            yield ExternalData(value, tensor, end)


def bytes_of(datatype: int, dims: Iterable[int]) -> int:
    """Return the bytes of a tensor's data, rounded up; 0 for datatypes without a fixed size.

    Raises:
        TooLarge: the dimensions are not those of a tensor.
    """
    return (elements(dims) * BITS.get(datatype, 0) + 7) // 8


def external_entries(message: memoryview) -> list[tuple[str, str]]:
    """Return the entries that locate a tensor's data in another file: "location", "offset" and
    "length". A key may occur more than once."""
    found = []
    for number, value in fields(message):
        if number == 13:
            entry = {key: text(part) for key, part in fields(view(value))}
            found.append((entry.get(1, ""), entry.get(2, "")))
    return found


def _number(tensor: str, key: str, value: str) -> int:
    if key not in ("offset", "length"):
        return 0  # for example a checksum
    if not NUMBER.fullmatch(value):
        raise WireError(f"external data of tensor {tensor!r:.200}: {key} is {value!r:.40}")
    return int(value)
