"""The position of a value in a tensor, as text: its row, and its column by name or number."""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple


class Labels(NamedTuple):
    """Labels of the values of a tensor in errors: the names of its columns (last axis), if any, and
    the number of its first row."""

    columns: Sequence[str] = ()
    first: int = 0


UNLABELLED = Labels()


def whereabouts(shape: Sequence[int], index: int, labels: Labels = UNLABELLED) -> str:
    """Describe the position of element ``index`` in row-major order. Rows and columns count from 0.

    >>> whereabouts([4, 3], 5)
    'row 1, column 2'
    """
    size = prod(shape[1:])
    if not shape or not size:
        return "the value"
    row, rest = divmod(index, size)
    where = f"row {row + labels.first}"
    if size == 1:
        return where
    if len(shape) == 2:
        name = f'"{labels.columns[rest]:.80}"' if labels.columns else str(rest)
        return f"{where}, column {name}"
    places = []
    for length in reversed(shape[1:]):
        rest, at = divmod(rest, length)
        places.append(at)
    return f"{where}, position {places[::-1]}"
