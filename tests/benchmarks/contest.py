"""One cell: some servers and the compute limit, loaded alternately by the same client.

The order is HTTP limit, candidate, compute limit, tutorial; every other round goes
backwards. So the candidate always runs next to the two limits it is compared with, and
a machine that slows down steadily favours no server.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import processes, wrk
from tests.benchmarks.compute import Compute
from tests.benchmarks.protocol import Message, Protocol
from tests.benchmarks.results import Cell, Run, Series
from tests.benchmarks.servers import Server
from tests.benchmarks.wrk import Load, LoadError


@dataclass(frozen=True, slots=True)
class Field:
    """The running servers and the compute limit, for one model and one wire format."""

    workload: str
    protocol: Protocol
    question: Message
    body: Path
    http_limit: Server
    candidate: Server
    tutorial: Server | None
    compute: Compute

    def servers(self) -> tuple[Server, ...]:
        present = (self.http_limit, self.candidate, self.tutorial)
        return tuple(server for server in present if server is not None)


@dataclass(frozen=True, slots=True)
class Clocks:
    """Seconds: of the clock, of CPU time of the server, and of CPU time of unrelated processes."""

    wall: float
    server: float
    foreign: float

    @classmethod
    def read(cls, server: Server) -> "Clocks":
        # wrk and all servers descend from this process
        foreign = processes.busy_seconds() - processes.cpu_seconds(os.getpid())
        return cls(time.monotonic(), processes.cpu_seconds(server.pid), foreign)


class Tally:
    """The sum of the rounds of one cell."""

    def __init__(self, field: Field, clients: int, seconds: int) -> None:
        self._field = field
        self._clients = clients
        self._seconds = seconds
        self._runs: dict[str, list[Run]] = {server.name: [] for server in field.servers()}
        self._rows: list[float] = []

    def steps(self) -> list[Callable[[], None]]:
        limit, candidate, *rest = [self._step(server) for server in self._field.servers()]
        return [limit, candidate, self._compute, *rest]

    def cell(self) -> Cell:
        field = self._field
        return Cell(
            workload=field.workload,
            protocol=field.protocol,
            clients=self._clients,
            http_limit=self._series(field.http_limit),
            candidate=self._series(field.candidate),
            tutorial=None if field.tutorial is None else self._series(field.tutorial),
            compute_rows_per_second=tuple(self._rows),
        )

    def _step(self, server: Server) -> Callable[[], None]:
        def step() -> None:
            self._runs[server.name].append(timed(self._field, server, self._clients, self._seconds))

        return step

    def _compute(self) -> None:
        self._rows.append(self._field.compute.rows_per_second(self._seconds / 2))

    def _series(self, server: Server) -> Series:
        return Series(server.name, tuple(self._runs[server.name]))


def alternate(field: Field, clients: int, rounds: int, seconds: int) -> Cell:
    tally = Tally(field, clients, seconds)
    for number in range(rounds):
        steps = tally.steps()
        for step in steps if number % 2 == 0 else reversed(steps):
            step()
    return tally.cell()


def timed(field: Field, server: Server, clients: int, seconds: int) -> Run:
    before = Clocks.read(server)
    outcome = load(field, server, clients, seconds)
    after = Clocks.read(server)
    memory = processes.memory(server.pid)
    server.settle()
    return Run(
        requests_per_second=outcome.requests / outcome.seconds,
        p50_ms=outcome.p50_ms,
        p99_ms=outcome.p99_ms,
        cpu_ms=1000 * (after.server - before.server) / outcome.requests,
        rss_mb=memory.rss_mb,
        peak_mb=memory.peak_mb,
        foreign_cores=max(0.0, (after.foreign - before.foreign) / (after.wall - before.wall)),
    )


def load(field: Field, server: Server, clients: int, seconds: int) -> wrk.Outcome:
    try:
        return wrk.run(Load(server.url, field.body, field.question), clients, seconds)
    except LoadError as error:
        raise LoadError(f"{server.name}: {error}") from error
