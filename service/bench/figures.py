"""The results of runs, as values for JSON and as lines of a table. No I/O."""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from service.bench.loops import Observed

HEADS = ("FORMAT", "LOAD", "REQ/S", "P50 ms", "P95 ms", "P99 ms", "MAX ms", "ERRORS", "CPU")
WIDTHS = (6, 12, 8, 7, 7, 7, 7, 6, 4)
"""Widths of the columns, for a terminal with 80 columns. CPU is the client's share of a core."""
BUSY = 0.85
"""If the client uses at least this share of a core, it may limit the results."""


@dataclass(frozen=True, slots=True)
class Run:
    """The results of one run.

    Latencies are in milliseconds, of answers with status 200 only, None if there are none.
    ``rate`` is the target of an open loop in requests/s, None in a closed loop. ``client_cpu`` is a
    share of one core.
    """

    format: str
    concurrency: int
    rate: float | None
    requests: int
    requests_per_second: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    errors: dict[str, int]
    client_cpu: float
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """The number of requests without an answer with status 200."""
        return sum(self.errors.values())

    @property
    def client_limited(self) -> bool:
        """True if the client was too busy to measure the server's limit."""
        return self.client_cpu >= BUSY


def run_of(format: str, concurrency: int, rate: float | None, seen: Observed) -> Run:
    """Return the figures of a run."""
    count = len(seen.latencies)
    p: list[float | None] = [None] * 4
    if count:
        p = (1000 * np.percentile(seen.latencies, (50, 95, 99, 100))).round(3).tolist()
    return Run(
        format=format,
        concurrency=concurrency,
        rate=rate,
        requests=count,
        requests_per_second=round(count / max(seen.seconds, 1e-9), 1),
        p50_ms=p[0],
        p95_ms=p[1],
        p99_ms=p[2],
        max_ms=p[3],
        errors=dict(seen.errors),
        client_cpu=round(seen.client_cpu, 3),
        reasons={kind: reason(text) for kind, text in seen.reasons.items()},
    )


def reason(text: bytes) -> str:
    """Return the error message of an answer."""
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text.decode("utf-8", "replace")[:300]


def values(run: Run) -> dict[str, Any]:
    """Return a run as plain values, for JSON."""
    found = {name: getattr(run, name) for name in Run.__slots__}
    return found | {"client_limited": run.client_limited}


def head() -> str:
    """Return the header line of the table."""
    return _aligned(HEADS)


def line(run: Run) -> str:
    """Return a run as a line of the table."""
    load = _load(run)
    latencies = (run.p50_ms, run.p95_ms, run.p99_ms, run.max_ms)
    shown = ("-" if each is None else f"{each:.2f}" for each in latencies)
    speed, cpu = f"{run.requests_per_second:.0f}", f"{run.client_cpu:.0%}"
    return _aligned((run.format, load, speed, *shown, str(run.failed), cpu))


def notes(run: Run) -> list[str]:
    """Return notes on a run: its errors, and whether the client was the limit."""
    load = f"at {_load(run)}" if run.rate is not None else f"with {_load(run)}"
    found = [
        f"{run.format} {load}: {count} x {_named(kind)}: {run.reasons.get(kind, '')}".rstrip(": ")
        for kind, count in run.errors.items()
    ]
    if run.client_limited:
        found.append(
            f"{run.format} {load}: this client was the limit ({run.client_cpu:.0%} of a core); "
            "the server may do more: run several clients, or send more rows with --rows"
        )
    return found


def _load(run: Run) -> str:
    if run.rate is not None:
        return f"{run.rate:g}/s"
    return "1 client" if run.concurrency == 1 else f"{run.concurrency} clients"


def _named(kind: str) -> str:
    return f"status {kind}" if kind.isdigit() else f"{kind} error"


def _aligned(cells: tuple[str, ...]) -> str:
    first, *others = zip(cells, WIDTHS, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])
