"""Metrics of models and versions, from counters of requests and batches and from their state."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.samples import Exemplar

from service.core.exemplars import Exemplars, Traced
from service.core.lifecycle import State
from service.core.statistics import (
    Histogram,
    Lookups,
    RequestStatistics,
    Statistics,
    VersionStatistics,
)
from service.engine.loading.loaded import Loaded
from service.engine.repository.repository import ModelRepository
from service.engine.repository.version import ModelVersion
from service.engine.runtime.split_batcher import Batcher
from service.metrics.language import language_metrics

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


def version_metrics(
    statistics: Statistics,
    repository: ModelRepository,
    exemplars: Exemplars,
    protocols: Sequence[str],
) -> Iterator[Metric]:
    """Yield the metrics of all models and versions. ``protocols``: the protocols in which models
    accept tensors."""
    versions = [version for model in repository for version in model.versions.values()]
    yield from _requests(statistics.requests, versions, exemplars, protocols)
    yield from _batches(statistics.versions, versions, exemplars)
    yield from _gauges(versions)
    yield from _caches(statistics.versions, versions)
    yield from _images(statistics.versions, versions)
    yield from language_metrics(statistics.tokens, versions)
    yield from _states(repository)


def _requests(
    counted: Mapping[tuple[str, int, str], RequestStatistics],
    versions: Sequence[ModelVersion],
    exemplars: Exemplars,
    protocols: Sequence[str],
) -> Iterator[Metric]:
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
    for (model, version, protocol), found in _with_zeros(counted, versions, protocols).items():
        values = [model, str(version or ""), protocol]
        for outcome, count in found.counts.items():
            total.add_metric([*values, outcome.value], count)
        traced = exemplars.of(("request", model, version, protocol))
        durations.add_metric(values, *_cumulative(found.duration, traced))
        rows.add_metric(values, found.rows)
    yield from (total, durations, rows)


def _with_zeros(
    counted: Mapping[tuple[str, int, str], RequestStatistics],
    versions: Sequence[ModelVersion],
    protocols: Sequence[str],
) -> dict[tuple[str, int, str], RequestStatistics]:
    """Return the counts, with zeros for READY versions without a request yet. ``rate()`` sees
    no increase in a series that begins with 1.
    """
    found = dict(counted)
    for version in versions:
        if version.state is State.READY:
            for protocol in LANGUAGE_PROTOCOLS if version.language else protocols:
                label = (version.model, version.number, protocol)
                found.setdefault(label, RequestStatistics())
    return found


def _batches(
    counted: Mapping[tuple[str, int], VersionStatistics],
    versions: Sequence[ModelVersion],
    exemplars: Exemplars,
) -> Iterator[Metric]:
    every = dict(counted)
    for version in versions:
        if version.state is State.READY:
            every.setdefault((version.model, version.number), VersionStatistics())
    rows = [([m, str(n)], found) for (m, n), found in every.items()]
    for name, (text, histogram) in HISTOGRAMS.items():
        family = HistogramMetricFamily(f"quantserve_{name}", text, labels=LABELS)
        for labels, found in rows:
            # Histograms without traces, such as rows, have no exemplars.
            traced = exemplars.of((name.partition("_")[0], labels[0], int(labels[1])))
            family.add_metric(labels, *_cumulative(histogram(found), traced))
        yield family
    for name, (text, number) in WORK.items():
        counter = CounterMetricFamily(f"quantserve_{name}", text, labels=LABELS)
        for labels, found in rows:
            counter.add_metric(labels, number(found))
        yield counter


def _gauges(versions: Sequence[ModelVersion]) -> Iterator[Metric]:
    for name, (text, of_batcher) in BATCHERS.items():
        family = gauge(name, text)
        for version in versions:
            if version.batcher is not None:
                family.add_metric(_labels(version), of_batcher(version.batcher))
        yield family
    for name, (text, of_loaded) in LOADED.items():
        family = gauge(name, text)
        for version in versions:
            if version.loaded is not None:
                family.add_metric(_labels(version), of_loaded(version.loaded))
        yield family


def _caches(
    counted: Mapping[tuple[str, int], VersionStatistics], versions: Sequence[ModelVersion]
) -> Iterator[Metric]:
    """Yield the metrics of versions with a response cache; nothing if there are none."""
    cached = [each for each in versions if each.config.cache.max_bytes]
    if not cached:
        return
    labels = (*LABELS, "result")
    requests = CounterMetricFamily(
        "quantserve_cache_lookups", "Requests looked up in the response cache", labels=labels
    )
    seconds = CounterMetricFamily(
        "quantserve_cache_lookup_seconds", "Time of these lookups", labels=labels
    )
    held = gauge("cache_bytes", "Size of the outputs in the response cache")
    for version in cached:
        found = counted.get((version.model, version.number), VersionStatistics())
        for result, lookups in LOOKUPS.items():
            values = [*_labels(version), result]
            requests.add_metric(values, lookups(found).count)
            seconds.add_metric(values, lookups(found).seconds)
        held.add_metric(_labels(version), version.cached_bytes)
    yield from (requests, seconds, held)


def _images(
    counted: Mapping[tuple[str, int], VersionStatistics], versions: Sequence[ModelVersion]
) -> Iterator[Metric]:
    """Yield the metrics of versions that accept images; nothing if there are none."""
    ready = {(v.model, v.number): VersionStatistics() for v in versions if v.images}
    if not (found := ready | {label: v for label, v in counted.items() if v.images}):
        return
    for name, (text, number) in IMAGES.items():
        counter = CounterMetricFamily(f"quantserve_{name}", text, labels=LABELS)
        for (model, version), each in sorted(found.items()):
            counter.add_metric([model, str(version)], number(each))
        yield counter


def _states(repository: ModelRepository) -> Iterator[Metric]:
    state = gauge("model_state", "1 for the current state of a version", "state")
    serving = gauge("model_serving", "1 for the version that answers by default")
    info = InfoMetricFamily("quantserve_model", "Properties of a version", labels=LABELS)
    for model in repository:
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


def gauge(name: str, text: str, *more: str) -> GaugeMetricFamily:
    """Return an empty gauge of versions, with ``more`` labels."""
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
