"""Counters and gauges for Prometheus, created at scrape time from the core's counters.

Names follow https://prometheus.io/docs/practices/naming/: base units, and the unit at the end.
"""

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version as version_of

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
from prometheus_client.samples import Exemplar

from service import __version__
from service.api.transport.traffic import Counts
from service.core.crashes import Crashes
from service.core.exemplars import Exemplars, Traced
from service.core.lifecycle import State
from service.core.memory_plan import MemoryPlan
from service.core.statistics import (
    Histogram,
    Lookups,
    RequestStatistics,
    Statistics,
    VersionStatistics,
)
from service.engine.cpu.providers import RUNTIME_VERSION
from service.engine.host.resources import memory_limit
from service.engine.loading.loaded import Loaded
from service.engine.repository.repository import ModelRepository
from service.engine.repository.version import ModelVersion
from service.engine.runtime.split_batcher import Batcher
from service.language_metrics import language_metrics

LABELS = ("model", "version")
PROTOCOLS = ("v1", "v2")
LANGUAGE_PROTOCOLS = ("openai", "generate")
HISTOGRAMS: dict[str, tuple[str, Callable[[VersionStatistics], Histogram]]] = {
    "queue_duration_seconds": ("Time that a request waited for its batch", lambda v: v.queue),
    "compute_duration_seconds": ("Time that a batch ran the graph", lambda v: v.compute),
    "batch_rows": ("Rows in a batch", lambda v: v.rows),
    "batch_padding_ratio": ("Share of a batch's elements that are padding", lambda v: v.padding),
}
WORK: dict[str, tuple[str, Callable[[VersionStatistics], float]]] = {
    "executions": ("Runs of the graph", lambda v: v.runs),
    "instance_busy_seconds": (
        "Busy time of instances; its rate divided by the number of instances is their busy share",
        lambda v: v.all_batches.total,
    ),
}
IMAGES: dict[str, tuple[str, Callable[[VersionStatistics], float]]] = {
    "images_decoded": ("Images decoded for inputs", lambda v: v.images),
    "image_decoding_seconds": (
        "Time that threads spent decoding, resizing and scaling images",
        lambda v: v.image_seconds,
    ),
}
LOOKUPS: dict[str, Callable[[VersionStatistics], Lookups]] = {
    "hit": lambda v: v.hits,
    "miss": lambda v: v.misses,
}
BATCHERS: dict[str, tuple[str, Callable[[Batcher], float]]] = {
    "queue_requests": ("Requests that wait for a batch", lambda b: b.waiting),
    "in_flight_requests": ("Requests that wait or run", lambda b: b.in_flight),
    "instances": ("Instances that can run batches concurrently", lambda b: b.instances),
    "instances_busy": ("Instances that are running a batch", lambda b: b.busy),
}
LOADED: dict[str, tuple[str, Callable[[Loaded], float]]] = {
    "queue_limit_requests": ("Maximum number of waiting requests", lambda v: v.policy.max_queue),
    "model_size_bytes": ("Size of the files", lambda v: v.file_bytes),
    "model_memory_bytes": ("Growth of the process's memory at load", lambda v: v.memory_bytes),
    "model_load_duration_seconds": ("Time of loading and warm-up", lambda v: v.load_seconds),
    "model_batch_deviation_ratio": (
        "How much answers change with other rows in the batch, relative to the largest value",
        lambda v: v.probe.deviation,
    ),
}


class Metrics(Collector):
    """All metrics of ``/metrics``, in a separate registry."""

    def __init__(
        self,
        statistics: Statistics,
        repository: ModelRepository,
        exemplars: Exemplars,
        crashes: Crashes,
        plan: MemoryPlan,
        traffic: Callable[[], Counts],
        poll: float = 0.0,
        protocols: Sequence[str] = PROTOCOLS,
    ) -> None:
        """``poll``: seconds between two polls of the models folder, 0 for no polling.
        ``protocols``: the protocols in which models accept tensors."""
        self._protocols = protocols
        self._poll = poll
        self._crashes = crashes
        self._plan = plan
        self._traffic = traffic
        self._exemplars = exemplars
        self._statistics = statistics
        self._repository = repository
        # Several packages install ONNX Runtime, so its own version counts.
        packages = {name: version_of(name) for name in ("numpy", "fastapi")}
        packages["onnxruntime"] = RUNTIME_VERSION
        self._build = {"version": __version__, "python": platform.python_version(), **packages}
        self._memory_limit = float(memory_limit())
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def families(self) -> Iterator[Metric]:
        """Yield all families of metrics."""
        yield from self._registry.collect()

    async def render(self, accept: str) -> tuple[bytes, str]:
        """Return the page and its content type: text or OpenMetrics, by the Accept header."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self._registry), content_type

    def collect(self) -> Iterator[Metric]:
        """Called by the registry at every scrape."""
        yield from self._requests()
        yield from self._batches()
        yield from self._gauges()
        yield from self._caches()
        yield from self._images()
        yield from language_metrics(self._statistics.tokens, self._versions())
        yield from self._states()
        yield from self._rollouts()
        yield from self._server()
        yield from self._memory()
        yield from self._supervisor()
        if self._poll:
            yield from self._polls()

    def _requests(self) -> Iterator[Metric]:
        labels = (*LABELS, "protocol")
        total = CounterMetricFamily(
            "quantserve_requests",
            "Completed or abandoned requests; version is empty if a request reached no version",
            labels=(*labels, "outcome"),
        )
        durations = HistogramMetricFamily(
            "quantserve_request_duration_seconds",
            "From the start of a request to the last byte of its answer",
            labels=labels,
        )
        rows = CounterMetricFamily("quantserve_rows", "Rows answered", labels=labels)
        for (model, version, protocol), found in self._requests_by_label().items():
            values = [model, str(version or ""), protocol]
            for outcome, count in found.counts.items():
                total.add_metric([*values, outcome.value], count)
            traced = self._exemplars.of(("request", model, version, protocol))
            durations.add_metric(values, *_cumulative(found.duration, traced))
            rows.add_metric(values, found.rows)
        yield from (total, durations, rows)

    def _requests_by_label(self) -> dict[tuple[str, int, str], RequestStatistics]:
        """Return the counts, with zeros for READY versions without a request yet. ``rate()`` sees
        no increase in a series that begins with 1.
        """
        found = dict(self._statistics.requests)
        for version in self._versions():
            if version.state is State.READY:
                for protocol in LANGUAGE_PROTOCOLS if version.language else self._protocols:
                    label = (version.model, version.number, protocol)
                    found.setdefault(label, RequestStatistics())
        return found

    def _batches(self) -> Iterator[Metric]:
        counted = dict(self._statistics.versions)
        for label in self._ready():
            counted.setdefault(label, VersionStatistics())
        versions = [([m, str(n)], found) for (m, n), found in counted.items()]
        for name, (text, histogram) in HISTOGRAMS.items():
            family = HistogramMetricFamily(f"quantserve_{name}", text, labels=LABELS)
            for labels, found in versions:
                # Histograms without traces, such as rows, have no exemplars.
                traced = self._exemplars.of((name.partition("_")[0], labels[0], int(labels[1])))
                family.add_metric(labels, *_cumulative(histogram(found), traced))
            yield family
        for name, (text, number) in WORK.items():
            counter = CounterMetricFamily(f"quantserve_{name}", text, labels=LABELS)
            for labels, found in versions:
                counter.add_metric(labels, number(found))
            yield counter

    def _gauges(self) -> Iterator[Metric]:
        versions = [(_labels(version), version) for version in self._versions()]
        for name, (text, of_batcher) in BATCHERS.items():
            family = _gauge(name, text)
            for labels, version in versions:
                if version.batcher is not None:
                    family.add_metric(labels, of_batcher(version.batcher))
            yield family
        for name, (text, of_loaded) in LOADED.items():
            family = _gauge(name, text)
            for labels, version in versions:
                if version.loaded is not None:
                    family.add_metric(labels, of_loaded(version.loaded))
            yield family

    def _images(self) -> Iterator[Metric]:
        """Yield the metrics of versions that accept images; nothing if there are none."""
        ready = {(v.model, v.number): VersionStatistics() for v in self._versions() if v.images}
        counted = {label: v for label, v in self._statistics.versions.items() if v.images}
        if not (found := ready | counted):
            return
        for name, (text, number) in IMAGES.items():
            counter = CounterMetricFamily(f"quantserve_{name}", text, labels=LABELS)
            for (model, version), each in sorted(found.items()):
                counter.add_metric([model, str(version)], number(each))
            yield counter

    def _caches(self) -> Iterator[Metric]:
        """Yield the metrics of versions with a response cache; nothing if there are none."""
        cached = [each for each in self._versions() if each.config.cache.max_bytes]
        if not cached:
            return
        labels = (*LABELS, "result")
        requests = CounterMetricFamily(
            "quantserve_cache_lookups", "Requests looked up in the response cache", labels=labels
        )
        seconds = CounterMetricFamily(
            "quantserve_cache_lookup_seconds", "Time of these lookups", labels=labels
        )
        held = _gauge("cache_bytes", "Size of the outputs in the response cache")
        counted = self._statistics.versions
        for version in cached:
            found = counted.get((version.model, version.number), VersionStatistics())
            for result, lookups in LOOKUPS.items():
                values = [*_labels(version), result]
                requests.add_metric(values, lookups(found).count)
                seconds.add_metric(values, lookups(found).seconds)
            held.add_metric(_labels(version), version.cached_bytes)
        yield from (requests, seconds, held)

    def _states(self) -> Iterator[Metric]:
        state = _gauge("model_state", "1 for the current state of a version", "state")
        serving = _gauge("model_serving", "1 for the version that answers by default")
        info = InfoMetricFamily("quantserve_model", "Properties of a version", labels=LABELS)
        for model in self._repository:
            if not model.versions:
                _one_of(state, [model.name, ""], State.UNAVAILABLE)
            for version in model.versions.values():
                labels = _labels(version)
                _one_of(state, labels, version.state)
                answers = version is model.serving and version.state is State.READY
                serving.add_metric(labels, float(answers))
                if version.loaded is not None:
                    info.add_metric(labels, _facts(version.loaded))
        yield from (state, serving, info)

    def _rollouts(self) -> Iterator[Metric]:
        swaps = CounterMetricFamily(
            "quantserve_swaps", "Switches to another version", labels=("model", "cause")
        )
        for (model, cause), count in self._statistics.swaps.items():
            swaps.add_metric([model, cause], count)
        failures = CounterMetricFamily(
            "quantserve_rollout_failures",
            "Phases of a rollout that a version failed",
            labels=(*LABELS, "phase"),
        )
        for (model, number, phase), count in self._statistics.rollout_failures.items():
            failures.add_metric([model, str(number), phase], count)
        lost = _gauge("lost_threads", "Threads that were given up because they do not return")
        for (model, number), count in self._statistics.lost_threads.items():
            lost.add_metric([model, str(number)], count)
        yield from (swaps, failures, lost)

    def _server(self) -> Iterator[Metric]:
        ready = GaugeMetricFamily(
            "quantserve_ready",
            "1 while every loadable model is warm, and at least one is",
            value=float(self._repository.ready),
        )
        limit = GaugeMetricFamily(
            "quantserve_memory_limit_bytes",
            "Memory limit of the process: its cgroup's limit",
            value=self._memory_limit,
        )
        build = InfoMetricFamily(
            "quantserve_build", "Versions of the server and its packages", value=self._build
        )
        yield from (ready, limit, build)

    def _memory(self) -> Iterator[Metric]:
        counts = self._traffic()
        shares = GaugeMetricFamily(
            "quantserve_memory_share_bytes",
            "Memory limits: the process with its models, and requests and answers in flight",
            labels=("share",),
        )
        shares.add_metric(["models"], self._plan.models)
        shares.add_metric(["traffic"], self._plan.traffic)
        held = GaugeMetricFamily(
            "quantserve_traffic_bytes",
            "Memory reserved for requests and answers in flight",
            value=counts.held,
        )
        refused = CounterMetricFamily(
            "quantserve_traffic_refusals",
            "Requests refused because their share of memory was full",
            value=counts.refused,
        )
        dropped = CounterMetricFamily(
            "quantserve_dropped_answers",
            "Answers dropped to free memory because their clients did not read them",
            value=counts.dropped,
        )
        yield from (shares, held, refused, dropped)

    def _supervisor(self) -> Iterator[Metric]:
        restarts = CounterMetricFamily(
            "quantserve_restarts",
            "Times that the supervisor replaced a server that crashed",
            value=self._crashes.total,
        )
        crashes = CounterMetricFamily(
            "quantserve_crashes",
            "Crashes by cause; model is empty if no single model was at work",
            labels=("cause", "model"),
        )
        for (cause, model), count in self._crashes.counts.items():
            crashes.add_metric([cause, model], count)
        quarantined = _gauge(
            "model_quarantined", "1 for a version that is not served because it crashed the server"
        )
        for each in self._repository:
            for number in each.quarantined:
                quarantined.add_metric([each.name, str(number)], 1)
        yield from (restarts, crashes, quarantined)

    def _polls(self) -> Iterator[Metric]:
        failures = CounterMetricFamily(
            "quantserve_poll_failures",
            "Failed polls of the models folder",
            value=self._statistics.poll_failures,
        )
        last = GaugeMetricFamily(
            "quantserve_poll_last_success_timestamp_seconds",
            "Time of the last successful poll of the models folder; initially the server's start",
            value=self._statistics.last_poll,
        )
        interval = GaugeMetricFamily(
            "quantserve_poll_interval_seconds",
            "Time between two polls of the models folder",
            value=self._poll,
        )
        yield from (failures, last, interval)

    def _ready(self) -> Iterator[tuple[str, int]]:
        """Yield the versions that requests can reach, by model and number."""
        return ((v.model, v.number) for v in self._versions() if v.state is State.READY)

    def _versions(self) -> Iterator[ModelVersion]:
        return (version for model in self._repository for version in model.versions.values())


def _labels(version: ModelVersion) -> list[str]:
    return [version.model, str(version.number)]


def _one_of(family: GaugeMetricFamily, labels: list[str], state: State) -> None:
    for each in State:
        family.add_metric([*labels, each.value], float(each is state))


def _facts(loaded: Loaded) -> dict[str, str]:
    precision = loaded.precision
    return {
        "precision": precision.shares[0][0] if precision.shares else "none",
        "scheme": precision.scheme or "float",
        "kernels": loaded.kernels.value,
        "sha256": loaded.sha256,
        "batching": loaded.plan.mode.value,
    }


def _gauge(name: str, text: str, *more: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"quantserve_{name}", text, labels=(*LABELS, *more))


def _cumulative(
    histogram: Histogram, traced: Mapping[int, Traced]
) -> tuple[list[tuple[str, float] | tuple[str, float, Exemplar]], float]:
    """Return the counts up to each bound, with the exemplar of a bucket if it has one, and the
    sum."""
    total = 0
    buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
    bounds = [*(str(float(bound)) for bound in histogram.bounds), "+Inf"]
    for place, (bound, count) in enumerate(zip(bounds, histogram.counts, strict=True)):
        total += count
        if place in traced:
            buckets.append((bound, float(total), _exemplar(traced[place])))
        else:
            buckets.append((bound, float(total)))
    return buckets, histogram.total


def _exemplar(traced: Traced) -> Exemplar:
    labels = {"trace_id": traced.trace_id, "span_id": traced.span_id}
    return Exemplar(labels, traced.value, traced.time)
