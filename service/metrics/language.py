"""Metrics of language models. After the prefix, their names equal those of other servers of
language models, so that dashboards and autoscalers can be reused."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, cast

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from service.core.token_statistics import SECONDS, Times, TokenStatistics
from service.engine.repository.version import ModelVersion

if TYPE_CHECKING:
    from service.engine.generation.batcher import GenerationBatcher

LABELS = ("model", "version")
HISTOGRAMS: dict[str, tuple[str, Callable[[TokenStatistics], Times]]] = {
    "time_to_first_token_seconds": ("Time from a request to its first token", lambda v: v.first),
    "inter_token_latency_seconds": ("Time from one token to the next", lambda v: v.between),
    "request_queue_time_seconds": (
        "Time that a request waited until its prompt was read",
        lambda v: v.queued,
    ),
}
COUNTERS: dict[str, tuple[str, Callable[[TokenStatistics], int]]] = {
    "prompt_tokens": ("Prompt tokens", lambda v: v.read + v.reused),
    "cached_prompt_tokens": (
        "Prompt tokens that were copied from other prompts in the cache",
        lambda v: v.reused,
    ),
    "generation_tokens": ("Tokens generated", lambda v: v.chosen),
}
GAUGES: dict[str, tuple[str, Callable[["GenerationBatcher"], float]]] = {
    "num_requests_running": ("Requests that have a row of the cache", lambda b: b.running),
    "num_requests_waiting": ("Requests that wait for a row of the cache", lambda b: b.waiting),
    "kv_cache_usage_perc": (
        "Share of the cache that holds tokens of running requests, 1 for all of it",
        lambda b: b.cache_use,
    ),
    "kv_cache_bytes": ("Size of the cache when it is full", lambda b: b.cache_bytes),
    "kv_cache_held_bytes": ("Memory that the cache holds now", lambda b: b.cache_held_bytes),
}


def language_metrics(
    counted: Mapping[tuple[str, int], TokenStatistics], versions: Iterable[ModelVersion]
) -> Iterator[Metric]:
    """Yield counters, with zeros for versions without a request yet, and gauges."""
    batchers = {
        (version.model, version.number): cast("GenerationBatcher", version.batcher)
        for version in versions
        if version.language and version.batcher is not None
    }
    found = {label: TokenStatistics() for label in batchers} | dict(counted)
    rows = [([model, str(number)], each) for (model, number), each in sorted(found.items())]
    for name, (text, times) in HISTOGRAMS.items():
        histogram = HistogramMetricFamily(f"quantserve_{name}", text, labels=LABELS)
        for labels, each in rows:
            histogram.add_metric(labels, _buckets(times(each)), times(each).total)
        yield histogram
    for name, (text, tokens) in COUNTERS.items():
        counter = CounterMetricFamily(f"quantserve_{name}", text, labels=LABELS)
        for labels, each in rows:
            counter.add_metric(labels, tokens(each))
        yield counter
    for name, (text, value) in GAUGES.items():
        gauge = GaugeMetricFamily(f"quantserve_{name}", text, labels=LABELS)
        for (model, number), batcher in sorted(batchers.items()):
            gauge.add_metric([model, str(number)], value(batcher))
        yield gauge


def _buckets(times: Times) -> list[tuple[str, float]]:
    bounds = [*map(str, SECONDS), "+Inf"]
    return [(b, float(n)) for b, n in zip(bounds, accumulate(times.counts), strict=True)]
