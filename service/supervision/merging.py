"""Merges the metrics of all workers into one page, without I/O.

A family is ``[name, type, documentation, samples]``, a sample ``[name, labels, value, exemplar]``.
Counters and histograms are summed, including those of workers that have ended, so that a sum never
decreases. Gauges are summed, or their mean, minimum or maximum is used, depending on their meaning.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Sample = list[Any]
Family = list[Any]
Page = dict[str, Family]
"""Families by name."""

SUMMED = frozenset(
    {
        "quantserve_queue_requests",
        "quantserve_queue_limit_requests",
        "quantserve_in_flight_requests",
        "quantserve_instances",
        "quantserve_instances_busy",
        "quantserve_lost_threads",
        "quantserve_model_memory_bytes",
        "quantserve_memory_share_bytes",
        "quantserve_traffic_bytes",
        "quantserve_cache_bytes",
        "quantserve_num_requests_running",
        "quantserve_num_requests_waiting",
        "quantserve_kv_cache_bytes",
        "quantserve_kv_cache_held_bytes",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_open_fds",
    }
)
"""Gauges to sum over workers. Other gauges, except ``SMALLEST`` and ``MEANS``, show the largest."""
SMALLEST = frozenset({"quantserve_ready", "process_start_time_seconds", "process_max_fds"})
MEANS = frozenset({"quantserve_kv_cache_usage_perc"})
"""Gauges that are ratios with the same denominator in each worker."""
ADDITIVE = frozenset({"counter", "histogram", "summary", "gaugehistogram"})


def page_of(families: Iterable[Family]) -> Page:
    """Families by name."""
    return {family[0]: family for family in families}


def merge(pages: Sequence[Page]) -> Page:
    """Merge the pages of several workers into one."""
    found: Page = {}
    for page in pages:
        for name, family in page.items():
            found.setdefault(name, [*family[:3], []])
    for name, merged in found.items():
        samples = (page[name][3] for page in pages if name in page)
        merged[3] = _merged(name, merged[1], samples)
    return found


def counters(page: Page) -> Page:
    """Return the families of a page to keep after its worker has ended."""
    return {name: family for name, family in page.items() if family[1] in ADDITIVE}


def _merged(name: str, kind: str, pages: Iterable[Sequence[Sample]]) -> list[Sample]:
    found: dict[tuple[str, tuple[tuple[str, str], ...]], Sample] = {}
    parts: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()
    for samples in pages:
        for sample_name, labels, value, exemplar in samples:
            key = (sample_name, tuple(sorted(labels.items())))
            there = found.get(key)
            parts[key] += 1
            if there is None:
                found[key] = [sample_name, labels, value, exemplar]
                continue
            there[2] = _one(name, kind, sample_name, there[2], value)
            there[3] = exemplar or there[3]
    if name in MEANS:
        for key, sample in found.items():
            sample[2] /= parts[key]
    return list(found.values())


def _one(name: str, kind: str, sample: str, one: float, other: float) -> float:
    if kind in ADDITIVE:
        # A merged series was created when the first of its parts was.
        return min(one, other) if sample.endswith("_created") else one + other
    if name in SUMMED or name in MEANS:
        return one + other
    return min(one, other) if name in SMALLEST else max(one, other)


def gauge(name: str, text: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> Family:
    """Return a gauge of the supervisor itself."""
    return [name, "gauge", text, [[name, dict(labels), value, None] for labels, value in samples]]


def counter(name: str, text: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> Family:
    """Return a counter of the supervisor itself."""
    rows = [[f"{name}_total", dict(labels), value, None] for labels, value in samples]
    return [name, "counter", text, rows]
