"""The targets, one line each: the ratio, its cell, and its bound."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.benchmarks.protocol import Protocol
from tests.benchmarks.results import Cell, Ratio, Results


@dataclass(frozen=True, slots=True)
class Target:
    what: str
    workload: str
    protocol: Protocol
    clients: int
    reached: Callable[[Cell], Ratio | None]
    bound: float
    unit: str = "x"
    at_most: bool = False

    def passes(self, value: float) -> bool:
        return value <= self.bound if self.at_most else value >= self.bound


@dataclass(frozen=True, slots=True)
class Verdict:
    target: Target
    reached: Ratio | None

    @property
    def missed(self) -> bool:
        return self.reached is not None and not self.target.passes(self.reached.middle)


def memory(cell: Cell) -> Ratio:
    sizes = [run.rss_mb for run in cell.candidate.runs]
    return Ratio(max(sizes), min(sizes), max(sizes))


TARGETS = (
    Target(
        "tiny MLP, JSON, 32 clients: requests/s relative to the HTTP limit",
        "tiny", Protocol.JSON, 32, Cell.throughput_to_http, 0.55,
    ),
    Target(
        "INT8 MLP, binary, 32 clients: requests/s relative to the HTTP limit",
        "mlp", Protocol.BINARY, 32, Cell.throughput_to_http, 0.50,
    ),
    Target(
        "INT8 MLP, JSON, 32 clients: requests/s relative to the HTTP limit",
        "mlp", Protocol.JSON, 32, Cell.throughput_to_http, 0.40,
    ),
    Target(
        "tiny MLP, JSON, 32 clients: requests/s relative to FastAPI + pydantic",
        "tiny", Protocol.JSON, 32, Cell.throughput_to_tutorial, 4.0,
    ),
    Target(
        "tiny MLP, JSON, 1 client: p50 relative to the HTTP limit",
        "tiny", Protocol.JSON, 1, Cell.p50_to_http, 2.0, at_most=True,
    ),
    Target(
        "sentence encoder, JSON, 16 clients: rows/s relative to the compute limit",
        "encoder", Protocol.JSON, 16, Cell.rows_to_compute, 0.90,
    ),
    Target(
        "digit CNN alone, after 32 clients: resident memory",
        "digits", Protocol.JSON, 32, memory, 130.0, unit=" MB", at_most=True,
    ),
)  # fmt: skip


def clients_needed(workload: str, protocol: Protocol) -> set[int]:
    """Return the concurrencies that the targets require."""
    wanted = (workload, protocol)
    return {target.clients for target in TARGETS if wanted == (target.workload, target.protocol)}


def judge(results: Results) -> list[Verdict]:
    verdicts = []
    for target in TARGETS:
        cell = results.cell(target.workload, target.protocol, target.clients)
        verdicts.append(Verdict(target, None if cell is None else target.reached(cell)))
    return verdicts
