"""Metrics as values that can be summed, and the metrics page of all workers."""

from collections.abc import Iterable, Iterator

from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar, Sample

from service.core.statistics import Statistics
from service.metrics.page import Metrics
from service.supervision.merging import Page
from service.workers.counted import HIDDEN, families, statistics_of
from service.workers.member import Member

OF_THE_SUPERVISOR = frozenset({"quantserve_restarts", "quantserve_crashes"})
"""Counters that the supervisor reports itself."""


def page(metrics: Iterable[Metric]) -> Page:
    """Convert families of metrics to values."""
    return {
        each.name: [
            each.name,
            each.type,
            each.documentation,
            [
                [s.name, s.labels, float(s.value), s.exemplar and [*s.exemplar]]
                for s in each.samples
            ],
        ]
        for each in metrics
        if each.name not in OF_THE_SUPERVISOR
    }


class SharedMetrics:
    """The metrics of this worker for the supervisor, and of all workers for a scrape."""

    def __init__(self, own: Metrics, counted: Statistics, member: Member) -> None:
        self._own = own
        self._counted = counted
        self._member = member

    def page(self) -> Page:
        """Return the metrics of this worker."""
        return page(self._own.families()) | families(self._counted)

    async def statistics(self) -> Statistics:
        """Return the counters of all workers."""
        return statistics_of(await self._member.page())

    async def render(self, accept: str) -> tuple[bytes, str]:
        """Return the page of all workers, and its content type."""
        encoder, content_type = choose_encoder(accept)
        return encoder(_Merged(await self._member.page())), content_type


class _Merged(Collector):
    """Families with the interface of a registry, for an encoder."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def collect(self) -> Iterator[Metric]:
        """Yield all families except the hidden ones."""
        shown = (family for name, family in self._page.items() if name not in HIDDEN)
        for name, kind, text, samples in shown:
            family = Metric(name, text, kind)
            family.samples = [
                Sample(sample, labels, value, None, exemplar and Exemplar(*exemplar))
                for sample, labels, value, exemplar in samples
            ]
            yield family
