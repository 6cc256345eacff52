"""Counters and gauges for Prometheus, made at scrape time from what the core counted."""

import platform
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from service import __version__
from service.core.lifecycle import State
from service.core.statistics import Histogram, Statistics
from service.engine.model import ModelVersion
from service.engine.repository import ModelRepository

LABELS = ("model", "version")


class Metrics(Collector):
    """Everything at ``/metrics``, in a registry of its own."""

    def __init__(self, statistics: Statistics, repository: ModelRepository) -> None:
        self._statistics = statistics
        self._repository = repository
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The page and its content type: text or OpenMetrics, as the Accept header says."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self._registry), content_type

    def collect(self) -> Iterator[Metric]:
        """Called by the registry at every scrape."""
        yield from self._requests()
        yield from self._batches()
        yield from self._gauges()
        build = InfoMetricFamily("quantserve_build", "Version of the server")
        build.add_metric([], {"version": __version__, "python": platform.python_version()})
        yield build

    def _requests(self) -> Iterator[Metric]:
        labels = (*LABELS, "protocol")
        total = CounterMetricFamily(
            "quantserve_requests", "Requests answered or given up", labels=(*labels, "outcome")
        )
        for (model, version, protocol, outcome), count in self._statistics.requests.items():
            total.add_metric([model, str(version), protocol, outcome.value], count)
        yield total
        durations = HistogramMetricFamily(
            "quantserve_request_duration_seconds", "From the first byte read to the last one sent",
            labels=labels,
        )  # fmt: skip
        for (model, version, protocol), histogram in self._statistics.durations.items():
            durations.add_metric([model, str(version), protocol], *_buckets(histogram))
        yield durations

    def _batches(self) -> Iterator[Metric]:
        queue = _histogram("queue_duration_seconds", "Time that a request waited for its batch")
        compute = _histogram("compute_duration_seconds", "Time that a batch ran the graph")
        rows = _histogram("batch_rows", "Rows in a batch")
        padding = _histogram("batch_padding_ratio", "Share of a batch's elements filled in")
        busy = CounterMetricFamily(
            "quantserve_instance_busy_seconds", "Time that instances worked", labels=LABELS
        )
        for (model, version), found in self._statistics.versions.items():
            labels = [model, str(version)]
            queue.add_metric(labels, *_buckets(found.queue))
            compute.add_metric(labels, *_buckets(found.compute))
            rows.add_metric(labels, *_buckets(found.batch_rows))
            padding.add_metric(labels, *_buckets(found.padding))
            busy.add_metric(labels, found.busy_seconds)
        yield from (queue, compute, rows, padding, busy)

    def _gauges(self) -> Iterator[Metric]:
        waiting = _gauge("queue_requests", "Requests waiting for a batch")
        instances = _gauge("instances", "Instances of the model")
        working = _gauge("instances_busy", "Instances at work")
        size = _gauge("model_size_bytes", "Size of the model's files")
        memory = _gauge("model_memory_bytes", "By how much the process grew at load")
        load = _gauge("model_load_duration_seconds", "Time that loading and warm-up took")
        moves = _gauge("model_batch_deviation_ratio", "How far answers move with their neighbours")
        state = _gauge("model_state", "1 for the state that the version is in", "state")
        info = InfoMetricFamily("quantserve_model", "What is loaded", labels=LABELS)
        for version in self._versions():
            labels = [version.model, str(version.number)]
            for each in State:
                state.add_metric([*labels, each.value], float(each is version.state))
            if version.loaded is None or version.batcher is None:
                continue
            found = version.loaded
            waiting.add_metric(labels, version.batcher.waiting)
            instances.add_metric(labels, version.batcher.instances)
            working.add_metric(labels, version.batcher.busy)
            size.add_metric(labels, found.file_bytes)
            memory.add_metric(labels, found.memory_bytes)
            load.add_metric(labels, found.load_seconds)
            moves.add_metric(labels, found.probe.deviation)
            facts = {"precision": str(found.precision), "sha256": found.sha256}
            info.add_metric(labels, {**facts, "batching": found.plan.mode.value})
        yield from (waiting, instances, working, size, memory, load, moves, state, info)

    def _versions(self) -> Iterator[ModelVersion]:
        return (version for model in self._repository for version in model.versions.values())


def _histogram(name: str, text: str) -> HistogramMetricFamily:
    return HistogramMetricFamily(f"quantserve_{name}", text, labels=LABELS)


def _gauge(name: str, text: str, *more: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"quantserve_{name}", text, labels=(*LABELS, *more))


def _buckets(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    """Cumulative counts by upper bound, and the sum."""
    total, buckets = 0, []
    bounds = [*(str(float(bound)) for bound in histogram.bounds), "+Inf"]
    for bound, count in zip(bounds, histogram.counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets, histogram.total
