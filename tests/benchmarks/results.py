"""The measurements as values: runs, series of runs, cells. All ratios are computed here.

A ratio compares two runs of the same round, which are adjacent in time. The median over the rounds
is reported. The speed of the machine may change between rounds, but hardly within one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from tests.benchmarks.protocol import Protocol


@dataclass(frozen=True, slots=True)
class Run:
    """One wrk run against one server."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    rss_mb: float
    peak_mb: float
    foreign_cores: float


Figure = Callable[[Run], float]


@dataclass(frozen=True, slots=True)
class Series:
    """The runs of one server in one cell, one per round."""

    server: str
    runs: tuple[Run, ...]

    def middle(self, figure: Figure) -> float:
        return median(figure(run) for run in self.runs)


@dataclass(frozen=True, slots=True)
class Ratio:
    middle: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Cell:
    """One model, one wire format, one number of clients: all servers in alternation."""

    workload: str
    protocol: Protocol
    clients: int
    candidate: Series
    http_limit: Series
    tutorial: Series | None
    compute_rows_per_second: tuple[float, ...]

    def throughput_to_http(self) -> Ratio:
        return against(self.candidate, self.http_limit, lambda run: run.requests_per_second)

    def p50_to_http(self) -> Ratio:
        return against(self.candidate, self.http_limit, lambda run: run.p50_ms)

    def throughput_to_tutorial(self) -> Ratio | None:
        if self.tutorial is None:
            return None
        return against(self.candidate, self.tutorial, lambda run: run.requests_per_second)

    def rows_to_compute(self) -> Ratio:
        pairs = zip(self.candidate.runs, self.compute_rows_per_second, strict=True)
        return _ratio([run.requests_per_second / limit for run, limit in pairs])


@dataclass(frozen=True, slots=True)
class Results:
    machine: tuple[str, ...]
    self_check: bool
    cells: tuple[Cell, ...]
    compute_settings: tuple[str, ...]
    broken: tuple[str, ...]

    def foreign_cores(self) -> float:
        """The number of cores that unrelated processes used in the median run."""
        trios = [(cell.candidate, cell.http_limit, cell.tutorial) for cell in self.cells]
        runs = [run for trio in trios for series in trio if series for run in series.runs]
        return median(run.foreign_cores for run in runs) if runs else 0.0

    def cell(self, workload: str, protocol: Protocol, clients: int) -> Cell | None:
        wanted = (workload, protocol, clients)
        found = (
            cell for cell in self.cells if wanted == (cell.workload, cell.protocol, cell.clients)
        )
        return next(found, None)


def against(candidate: Series, reference: Series, figure: Figure) -> Ratio:
    pairs = zip(candidate.runs, reference.runs, strict=True)
    return _ratio([figure(ours) / figure(theirs) for ours, theirs in pairs])


def _ratio(values: list[float]) -> Ratio:
    return Ratio(median(values), min(values), max(values))
