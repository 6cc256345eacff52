"""Cheap counters of what happened, fed by events and read at scrape time. Times are seconds."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from service.core.events import (
    BatchExecuted,
    Event,
    Outcome,
    RequestCompleted,
    RequestDropped,
)

SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0,
)  # fmt: skip
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SHARES = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


class Histogram:
    """Counts of values by upper bounds, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@dataclass(eq=False, slots=True)
class VersionStatistics:
    """What happened to one version of a model."""

    queue: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    compute: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    batch_rows: Histogram = field(default_factory=lambda: Histogram(ROWS))
    padding: Histogram = field(default_factory=lambda: Histogram(SHARES))
    rows: int = 0
    runs: int = 0
    failed: int = 0
    assemble_seconds: float = 0.0
    split_seconds: float = 0.0
    busy_seconds: float = 0.0


class Statistics:
    """An observer that counts."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int, str, Outcome]] = Counter()
        self.durations: dict[tuple[str, int, str], Histogram] = {}
        self.versions: dict[tuple[str, int], VersionStatistics] = {}

    def __call__(self, event: Event) -> None:
        if type(event) is RequestCompleted:
            self._completed(event)
        elif type(event) is BatchExecuted:
            self._executed(event)
        elif type(event) is RequestDropped:
            self.version(event.model, event.version).queue.observe(event.queued)

    def version(self, model: str, number: int) -> VersionStatistics:
        """The counters of a version, made when first asked for."""
        found = self.versions.get((model, number))
        if found is None:
            found = self.versions[model, number] = VersionStatistics()
        return found

    def _completed(self, event: RequestCompleted) -> None:
        key = (event.model, event.version, event.protocol)
        self.requests[*key, event.outcome] += 1
        histogram = self.durations.get(key)
        if histogram is None:
            histogram = self.durations[key] = Histogram(SECONDS)
        histogram.observe(event.seconds)

    def _executed(self, event: BatchExecuted) -> None:
        version, timing = self.version(event.model, event.version), event.timing
        for seconds in event.queued:
            version.queue.observe(seconds)
        version.compute.observe(timing.compute)
        version.batch_rows.observe(event.rows)
        version.padding.observe(timing.padding)
        version.rows += event.rows
        version.runs += timing.runs
        version.failed += event.failed
        version.assemble_seconds += timing.assemble
        version.split_seconds += timing.split
        version.busy_seconds += timing.total
