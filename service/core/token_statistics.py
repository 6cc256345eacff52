"""Counters of the tokens that language models read and write, updated by events. Times are
seconds."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field

from service.core.events import TokensGenerated

SECONDS = (
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0, 60.0,
)  # fmt: skip


@dataclass(eq=False, slots=True)
class Times:
    """Counts of values by upper bound, with one more count for values above the last bound; and the
    sum of the values."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(SECONDS) + 1))
    total: float = 0.0

    def add(self, values: Iterable[float]) -> None:
        """Count values."""
        for value in values:
            self.counts[bisect_left(SECONDS, value)] += 1
            self.total += value


@dataclass(eq=False, slots=True)
class TokenStatistics:
    """Counters of one version. ``queued``: the time that each request waited for a row; ``first``:
    times from a request's arrival to its first token; ``between``: times from one token to the
    next."""

    read: int = 0
    reused: int = 0
    chosen: int = 0
    queued: Times = field(default_factory=Times)
    first: Times = field(default_factory=Times)
    between: Times = field(default_factory=Times)

    def add(self, step: TokensGenerated) -> None:
        """Count a step."""
        self.read += step.read
        self.reused += step.reused
        self.chosen += step.chosen
        self.queued.add(step.queued)
        self.first.add(step.first)
        self.between.add(step.between)
