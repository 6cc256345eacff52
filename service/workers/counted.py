"""Converts a worker's counters to metric families that can be summed, and sums back to statistics.

These families have more series than a page for Prometheus should have. They are used for the
protocol's statistics only, and are not shown on the page.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from service.core.events import Outcome
from service.core.statistics import RequestStatistics, Statistics, Times, VersionStatistics
from service.supervision.merging import Page, Sample

REQUESTS, BATCHES, QUEUE, LAST, LOOKUPS = (
    f"quantserve_counted_{name}" for name in ("requests", "batches", "queue", "last", "lookups")
)
HIDDEN = frozenset({REQUESTS, BATCHES, QUEUE, LAST, LOOKUPS})
PARTS = ("count", "assemble", "compute", "split")
KIND = ("rows", "requests", "failed", "runs")


def families(counted: Statistics) -> Page:
    """The counters, by name."""
    return {
        REQUESTS: [REQUESTS, "counter", "", list(_requests(counted))],
        BATCHES: [BATCHES, "counter", "", list(_batches(counted))],
        QUEUE: [QUEUE, "counter", "", list(_queue(counted))],
        LAST: [LAST, "gauge", "", list(_last(counted))],
        LOOKUPS: [LOOKUPS, "counter", "", list(_lookups(counted))],
    }


def statistics_of(page: Page) -> Statistics:
    """The sum of the counters of several workers."""
    requests: defaultdict[tuple[str, int, str], RequestStatistics]
    requests = defaultdict(RequestStatistics)
    versions: defaultdict[tuple[str, int], VersionStatistics] = defaultdict(VersionStatistics)
    for _, labels, value, _ in _samples(page, REQUESTS):
        found = requests[labels["model"], int(labels["version"]), labels["protocol"]]
        if labels["part"] == "rows":
            found.rows = int(value)
        elif labels["part"] == "count":
            found.counts[Outcome(labels["outcome"])] = int(value)
        else:
            found.seconds[Outcome(labels["outcome"])] = value
    for _, labels, value, _ in _samples(page, BATCHES):
        rows, asked, failed, runs = (int(labels[name]) for name in KIND)
        times = versions[_version(labels)].counted[rows, asked, failed, runs]
        setattr(times, labels["part"], int(value) if labels["part"] == "count" else value)
    for _, labels, value, _ in _samples(page, QUEUE):
        version = versions[_version(labels)]
        if labels["part"] == "seconds":
            version.queue_seconds = value
        else:
            version.queue_buckets[int(labels["bucket"])] = int(value)
    for _, labels, value, _ in _samples(page, LAST):
        versions[_version(labels)].last = value
    for _, labels, value, _ in _samples(page, LOOKUPS):
        version = versions[_version(labels)]
        lookups = version.hits if labels["result"] == "hit" else version.misses
        if labels["part"] == "seconds":
            lookups.seconds = value
        else:
            lookups.count = int(value)
    return Statistics.of(requests, versions)


def _requests(counted: Statistics) -> Iterator[Sample]:
    for (model, version, protocol), found in counted.requests.items():
        labels = {"model": model, "version": str(version), "protocol": protocol}
        yield [REQUESTS, {**labels, "part": "rows"}, found.rows, None]
        for outcome in Outcome:
            if found.counts[outcome]:
                one = {**labels, "outcome": outcome.value}
                yield [REQUESTS, {**one, "part": "count"}, found.counts[outcome], None]
                yield [REQUESTS, {**one, "part": "seconds"}, found.seconds[outcome], None]


def _batches(counted: Statistics) -> Iterator[Sample]:
    for labels, found in _versions(counted):
        for kind, times in list(found.counted.items()):
            one = {**labels, **{name: str(value) for name, value in zip(KIND, kind, strict=True)}}
            yield from ([BATCHES, {**one, "part": p}, _part(times, p), None] for p in PARTS)


def _queue(counted: Statistics) -> Iterator[Sample]:
    for labels, found in _versions(counted):
        yield [QUEUE, {**labels, "part": "seconds"}, found.queue_seconds, None]
        for place, count in enumerate(found.queue_buckets):
            if count:
                yield [QUEUE, {**labels, "part": "count", "bucket": str(place)}, count, None]


def _last(counted: Statistics) -> Iterator[Sample]:
    return ([LAST, labels, found.last, None] for labels, found in _versions(counted))


def _lookups(counted: Statistics) -> Iterator[Sample]:
    for labels, found in _versions(counted):
        for result, lookups in (("hit", found.hits), ("miss", found.misses)):
            if lookups.count:
                one = {**labels, "result": result}
                yield [LOOKUPS, {**one, "part": "count"}, lookups.count, None]
                yield [LOOKUPS, {**one, "part": "seconds"}, lookups.seconds, None]


def _versions(counted: Statistics) -> Iterator[tuple[dict[str, str], VersionStatistics]]:
    for (model, version), found in counted.versions.items():
        yield {"model": model, "version": str(version)}, found


def _part(times: Times, part: str) -> float:
    found: float = getattr(times, part)
    return found


def _samples(page: Page, name: str) -> list[Sample]:
    found: list[Sample] = page[name][3] if name in page else []
    return found


def _version(labels: Mapping[str, str]) -> tuple[str, int]:
    return labels["model"], int(labels["version"])
