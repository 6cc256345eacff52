"""The last traced request in each bucket of a histogram, so that a slow bucket leads to a trace."""

from bisect import bisect_left
from collections.abc import Hashable
from typing import NamedTuple

from service.core.statistics import SECONDS


class Traced(NamedTuple):
    """A measured value in seconds, its time in seconds since the epoch, and its trace. The ids are
    hexadecimal digits.
    """

    value: float
    time: float
    trace_id: str
    span_id: str


class Exemplars:
    """Traced values by histogram, then by bucket. The writer and the reader must use the same key
    for a histogram."""

    def __init__(self) -> None:
        self._found: dict[Hashable, dict[int, Traced]] = {}

    def put(self, key: Hashable, traced: Traced) -> None:
        """Store a value in place of the last one of its bucket."""
        self._found.setdefault(key, {})[bisect_left(SECONDS, traced.value)] = traced

    def of(self, key: Hashable) -> dict[int, Traced]:
        """Return the values of a histogram by the index of the bucket."""
        return self._found.get(key, {})
