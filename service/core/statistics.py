"""Cheap counters, updated by events and read at scrape time. Times are seconds.

An event costs about a microsecond: it is counted under its kind. All values that can be derived
from these counts are computed by the reader.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from service.core.events import (
    BatchExecuted,
    CacheLookup,
    Event,
    ImagesDecoded,
    Outcome,
    PhaseStatus,
    Polled,
    RequestCompleted,
    RequestDropped,
    Swapped,
    SwapPhase,
    ThreadLost,
    TokensGenerated,
)
from service.core.token_statistics import TokenStatistics

SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0,
)  # fmt: skip
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SHARES = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


class Histogram(NamedTuple):
    """Counts of values by upper bound, with one more count for values above the last bound; and the
    sum of the values."""

    bounds: Sequence[float]
    counts: Sequence[int]
    total: float


def _buckets(bounds: Sequence[float]) -> Callable[[], list[int]]:
    return lambda: [0] * (len(bounds) + 1)


@dataclass(eq=False, slots=True)
class RequestStatistics:
    """Requests to one version in one protocol: counts and times by outcome.

    ``rows`` counts the rows of the answered requests.
    """

    counts: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    seconds: dict[Outcome, float] = field(default_factory=lambda: dict.fromkeys(Outcome, 0.0))
    rows: int = 0
    buckets: list[int] = field(default_factory=_buckets(SECONDS))

    @property
    def duration(self) -> Histogram:
        """Times of all requests."""
        return Histogram(SECONDS, self.buckets, sum(self.seconds.values()))


class BatchKind(NamedTuple):
    """The properties by which batches are counted: rows, requests, failed requests, and runs of the
    graph.

    If rows run one by one, each row is a request to the queue.
    """

    rows: int
    requests: int
    failed: int
    runs: int

    @property
    def clean(self) -> bool:
        """True if one run answered all requests of the batch."""
        return self.runs == 1 and not self.failed


@dataclass(eq=False, slots=True)
class Times:
    """A count, and the total time of each phase."""

    count: int = 0
    assemble: float = 0.0
    compute: float = 0.0
    split: float = 0.0

    @property
    def total(self) -> float:
        """The whole time."""
        return self.assemble + self.compute + self.split


@dataclass(eq=False, slots=True)
class Lookups:
    """Requests that were looked up in the response cache with the same result."""

    count: int = 0
    seconds: float = 0.0


def add(terms: Iterable[tuple[int, Times]]) -> Times:
    """Return the sum of times, each multiplied by its factor."""
    found = Times()
    for factor, times in terms:
        found.count += factor * times.count
        found.assemble += factor * times.assemble
        found.compute += factor * times.compute
        found.split += factor * times.split
    return found


@dataclass(eq=False, slots=True)
class VersionStatistics:
    """Counters of one version. ``last`` is the time of its last batch in seconds since the epoch, 0
    for never.
    """

    counted: defaultdict[tuple[int, int, int, int], Times] = field(
        default_factory=lambda: defaultdict(Times)
    )
    """By the values of a ``BatchKind``, as a plain tuple, which is created faster."""
    last: float = 0.0
    compute_buckets: list[int] = field(default_factory=_buckets(SECONDS))
    queue_buckets: list[int] = field(default_factory=_buckets(SECONDS))
    queue_seconds: float = 0.0
    padding_buckets: list[int] = field(default_factory=_buckets(SHARES))
    padding_total: float = 0.0
    hits: Lookups = field(default_factory=Lookups)
    misses: Lookups = field(default_factory=Lookups)
    images: int = 0
    image_seconds: float = 0.0

    @property
    def batches(self) -> list[tuple[BatchKind, Times]]:
        """All batches, by kind."""
        return [(BatchKind(*kind), times) for kind, times in self.counted.items()]

    @property
    def queue(self) -> Histogram:
        """Waiting times, one for each request that left the queue."""
        return Histogram(SECONDS, self.queue_buckets, self.queue_seconds)

    @property
    def compute(self) -> Histogram:
        """Times in the graph, one for each batch."""
        return Histogram(SECONDS, self.compute_buckets, self.all_batches.compute)

    @property
    def rows(self) -> Histogram:
        """Rows in a batch."""
        counts = _buckets(ROWS)()
        for kind, times in self.batches:
            counts[bisect_left(ROWS, kind.rows)] += times.count
        return Histogram(ROWS, counts, sum(k.rows * t.count for k, t in self.batches))

    @property
    def padding(self) -> Histogram:
        """The share of a batch's elements that are padding. Events count only batches with padding;
        the other batches are added here.
        """
        counts = list(self.padding_buckets)
        counts[0] += self.all_batches.count - sum(counts)
        return Histogram(SHARES, counts, self.padding_total)

    @property
    def runs(self) -> int:
        """Runs of the graph."""
        return sum(kind.runs * times.count for kind, times in self.batches)

    @property
    def all_batches(self) -> Times:
        """The sum over all batches."""
        return add((1, times) for times in self.counted.values())

    @property
    def answered(self) -> Times:
        """The requests that were answered, each with the whole time of its batch."""
        return add((kind.requests - kind.failed, times) for kind, times in self.batches)

    def by_rows(self) -> Iterator[tuple[int, Times]]:
        """Yield the times of the batches that one run answered, by rows."""
        clean = [(kind.rows, times) for kind, times in self.batches if kind.clean]
        for rows in sorted({rows for rows, _ in clean}):
            yield rows, add((1, times) for size, times in clean if size == rows)


class Statistics:
    """An observer that counts events. ``clock`` returns seconds since the epoch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._requests: defaultdict[tuple[str, int, str], RequestStatistics]
        self._requests = defaultdict(RequestStatistics)
        self._versions: defaultdict[tuple[str, int], VersionStatistics]
        self._versions = defaultdict(VersionStatistics)
        self._tokens: defaultdict[tuple[str, int], TokenStatistics]
        self._tokens = defaultdict(TokenStatistics)
        self.swaps: Counter[tuple[str, str]] = Counter()
        """By model and cause."""
        self.rollout_failures: Counter[tuple[str, int, str]] = Counter()
        """By model, version and the phase that failed."""
        self.poll_failures = 0
        self.last_poll = clock()
        """The time of the last successful poll of the models folder, in seconds since the epoch."""
        self.lost_threads: Counter[tuple[str, int]] = Counter()
        """The threads that have not returned yet, by model and version."""

    @classmethod
    def of(
        cls,
        requests: defaultdict[tuple[str, int, str], RequestStatistics],
        versions: defaultdict[tuple[str, int], VersionStatistics],
    ) -> "Statistics":
        """Create statistics from existing counters."""
        found = cls(lambda: 0.0)
        found._requests, found._versions = requests, versions
        return found

    async def now(self) -> "Statistics":
        """Return the current statistics: this object."""
        return self

    def __call__(self, event: Event) -> None:
        if type(event) is RequestCompleted:
            self._completed(event)
        elif type(event) is BatchExecuted:
            self._executed(event)
        elif type(event) is TokensGenerated:
            self._tokens[event.model, event.version].add(event)
        elif type(event) is CacheLookup:
            counted = self._versions[event.model, event.version]
            lookups = counted.hits if event.hit else counted.misses
            lookups.count += 1
            lookups.seconds += event.seconds
        elif type(event) is ImagesDecoded:
            decoded = self._versions[event.model, event.version]
            decoded.images += event.images
            decoded.image_seconds += event.seconds
        elif type(event) is RequestDropped:
            version = self._versions[event.model, event.version]
            version.queue_buckets[bisect_left(SECONDS, event.queued)] += 1
            version.queue_seconds += event.queued
        elif type(event) is ThreadLost:
            self.lost_threads[event.model, event.version] += -1 if event.back else 1
        elif type(event) is Swapped:
            self.swaps[event.model, event.cause] += 1
        elif type(event) is SwapPhase and event.status is PhaseStatus.FAILED:
            self.rollout_failures[event.model, event.version, event.phase] += 1
        elif type(event) is Polled and event.error:
            self.poll_failures += 1
        elif type(event) is Polled:
            self.last_poll = self._clock()

    @property
    def requests(self) -> Mapping[tuple[str, int, str], RequestStatistics]:
        """Statistics of requests by model, version (0: no version was reached) and protocol."""
        return self._requests

    @property
    def versions(self) -> Mapping[tuple[str, int], VersionStatistics]:
        """Statistics of all versions that had events, by model and version."""
        return self._versions

    @property
    def tokens(self) -> Mapping[tuple[str, int], TokenStatistics]:
        """Statistics of all language models that had events, by model and version."""
        return self._tokens

    def _completed(self, event: RequestCompleted) -> None:
        seconds, outcome = event.seconds, event.outcome
        found = self._requests[event.model, event.version, event.protocol]
        found.counts[outcome] += 1
        found.seconds[outcome] += seconds
        found.rows += event.rows
        found.buckets[bisect_left(SECONDS, seconds)] += 1

    def _executed(self, event: BatchExecuted) -> None:
        timing, queued = event.timing, event.queued
        version = self._versions[event.model, event.version]
        times = version.counted[event.rows, len(queued), event.failed, timing.runs]
        times.count += 1
        times.assemble += timing.assemble
        times.compute += timing.compute
        times.split += timing.split
        version.compute_buckets[bisect_left(SECONDS, timing.compute)] += 1
        for seconds in queued:
            version.queue_buckets[bisect_left(SECONDS, seconds)] += 1
            version.queue_seconds += seconds
        if timing.padding:
            version.padding_buckets[bisect_left(SHARES, timing.padding)] += 1
            version.padding_total += timing.padding
        version.last = self._clock()
