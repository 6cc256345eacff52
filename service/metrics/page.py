"""The metrics page for Prometheus, created at scrape time: the metrics of versions, and those of
the server.

Names follow https://prometheus.io/docs/practices/naming/: base units, and the unit at the end.
"""

import platform
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version as version_of

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from service import __version__
from service.api.transport.traffic import Counts
from service.core.crashes import Crashes
from service.core.exemplars import Exemplars
from service.core.memory_plan import MemoryPlan
from service.core.statistics import Statistics
from service.engine.cpu.providers import RUNTIME_VERSION
from service.engine.host.resources import memory_limit
from service.engine.repository.repository import ModelRepository
from service.metrics.versions import LABELS, PROTOCOLS, gauge, version_metrics


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
        yield from version_metrics(
            self._statistics, self._repository, self._exemplars, self._protocols
        )
        yield from self._rollouts()
        yield from self._server()
        yield from self._memory()
        yield from self._supervisor()
        if self._poll:
            yield from self._polls()

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
        lost = gauge("lost_threads", "Threads that were given up because they do not return")
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
        quarantined = gauge(
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
