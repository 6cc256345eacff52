"""The largest inputs for a run that stays in the event loop: inputs no larger than those whose run
time was measured.

The bound is on each axis, not on the number of elements: attention over 512 tokens of one row
costs far more than over 8 tokens of 64 rows.
"""

from dataclasses import dataclass
from typing import NamedTuple

from service.core.padding import Padding
from service.core.tensors import Array, Arrays, Overriding, Signature

SHORT_STRING = 256
"""Length of a string, in bytes or characters, that is always allowed: an operator processes it in
less than a microsecond."""


class Axis(NamedTuple):
    """The longest length that one axis of one input may have."""

    input: int
    axis: int
    longest: int


@dataclass(frozen=True, slots=True)
class Extent:
    """The largest inputs that were measured: the variable axes, and the longest string of each
    input of strings, by the place of the input."""

    axes: tuple[Axis, ...]
    strings: tuple[tuple[int, int], ...] = ()

    def holds(self, arrays: Arrays) -> bool:
        """Return whether inputs, in the signature's order, are no larger. False for a request that
        overrides defaults of the graph."""
        for place, axis, longest in self.axes:
            if arrays[place].shape[axis] > longest:
                return False
        for place, longest in self.strings:
            if longest_string(arrays[place]) > longest:
                return False
        return type(arrays) is not Overriding


def measured_extent(
    signature: Signature, row: Arrays, rows: int, padding: Padding | None = None
) -> Extent | None:
    """Return the extent that a measured row allows. If the first axis is a batch, up to ``rows``
    rows were measured.

    With ``padding``, a variable axis may be as long as the largest bucket that is no longer than
    the measured row. None if an input declares no shape, so that its axes are not known.
    """
    axes: list[Axis] = []
    for place, (spec, array) in enumerate(zip(signature.inputs, row, strict=True)):
        if not spec.ranked:
            return None
        for axis, dim in enumerate(spec.shape):
            if isinstance(dim, int):
                continue
            longest = array.shape[axis]
            if axis == 0 and signature.has_rows:
                longest = max(rows, longest)
            elif axis and padding is not None and padding.fills[place] is not None:
                longest = max((b for b in padding.buckets if b <= longest), default=0)
            axes.append(Axis(place, axis, longest))
    strings = tuple(
        (place, max(SHORT_STRING, longest_string(array)))
        for place, array in enumerate(row)
        if array.dtype.kind == "O"
    )
    return Extent(tuple(axes), strings)


def longest_string(array: Array) -> int:
    """Return the length of the longest element of an array of strings or bytes, 0 if it is
    empty."""
    return max((len(each) if hasattr(each, "__len__") else 0 for each in array.flat), default=0)
