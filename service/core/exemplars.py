"""The last traced request in each bucket of a histogram, so that a slow bucket leads to a trace."""

from bisect import bisect_left
from collections.abc import Hashable
from typing import NamedTuple

from service.core.statistics import SECONDS


class Traced(NamedTuple):
    """A measured value, in seconds, when it was, since the epoch, and the trace that it is part of;
    ids in hexadecimal digits.
    """

    value: float
    time: float
    trace_id: str
    span_id: str


class Exemplars:
    """By histogram, then by bucket; who puts and who reads agree on a histogram's key."""

    def __init__(self) -> None:
        self._found: dict[Hashable, dict[int, Traced]] = {}

    def put(self, key: Hashable, traced: Traced) -> None:
        """Remember a value in place of the last one of its bucket."""
        self._found.setdefault(key, {})[bisect_left(SECONDS, traced.value)] = traced

    def of(self, key: Hashable) -> dict[int, Traced]:
        """By the place of the bucket."""
        return self._found.get(key, {})
