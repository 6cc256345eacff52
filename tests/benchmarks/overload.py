"""`python -m tests.benchmarks.overload`: requests that arrive faster than a model runs.

Open loop: requests are due at a constant rate, independent of the server, and their time counts
from then. The model takes about 10 ms per request. The capacity is that of a closed loop in the
same round. The timeout of a request is the 99th percentile of the latency at 0.9 of the capacity;
requests that would wait longer are refused. Health is requested over another connection. The last
load is twice the capacity in two priorities, a quarter of it urgent.
"""

import argparse
import asyncio
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

from service.bench.loops import Load, Observed, closed_loop, open_loop
from service.bench.wire import Server
from tests import tiny_models
from tests.system.process import running
from tests.system.wire import get, post

TURNS, USUAL = 10_000, 0.9
LOADS = (0.5, USUAL, 1.2, 2.0, 5.0)
URGENT, OTHER = 0.5, 1.5
"""Loads of two priorities that come together."""
CLIENTS, CONNECTIONS, PATIENCE = 8, 512, 10.0
GOODPUT, P99, HEALTH_SECONDS = 0.95, 2.0, 0.05
"""Wanted at twice the capacity: answers a second to the capacity, the 99th percentile of accepted
requests to that at 0.9 of it, and the 99th percentile of health in seconds."""


@dataclass(frozen=True, slots=True)
class Reached:
    """The results at one load: good answers/s, their 99th percentile and that of health in seconds,
    and the shares of requests refused at once, and refused after waiting."""

    goodput: float
    p99: float
    health: float
    refused: float
    late: float


def main() -> int:
    """Measure, print, and return whether the targets were met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tiny_models.counting(Path(folder))
        with running(Path(folder)) as server:
            address = Server("127.0.0.1", server.port, secure=False, prefix="")
            rounds = [
                asyncio.run(_round(address, arguments.seconds)) for _ in range(arguments.rounds)
            ]
    return 0 if _told(rounds) else 1


@dataclass(frozen=True, slots=True)
class Round:
    """The capacity in requests/s, the results at each load, and those of the urgent and the other
    requests of two priorities."""

    capacity: float
    loads: dict[float, Reached]
    urgent: Reached
    other: Reached


async def _round(server: Server, seconds: float) -> Round:
    """Measure each load once."""
    closed = await closed_loop(Load(server, [_request()], seconds, PATIENCE), CLIENTS)
    capacity = len(closed.latencies) / closed.seconds
    found: dict[float, Reached] = {}
    for share in LOADS:
        usual = found.get(USUAL)
        load = Load(server, [_request(usual.p99 if usual else None)], seconds, PATIENCE)
        health = asyncio.ensure_future(_health(server, seconds))
        seen = await open_loop(load, share * capacity, CONNECTIONS)
        found[share] = _reached(seen, await health, seconds)
    return Round(capacity, found, *await _mixed(server, seconds, capacity, found[USUAL].p99))


async def _mixed(
    server: Server, seconds: float, capacity: float, timeout: float
) -> tuple[Reached, Reached]:
    """Measure twice the capacity, in two priorities."""
    health = asyncio.ensure_future(_health(server, seconds))
    loads = [
        open_loop(
            Load(server, [_request(timeout, priority)], seconds, PATIENCE),
            share * capacity,
            CONNECTIONS,
        )
        for priority, share in ((1, URGENT), (2, OTHER))
    ]
    urgent, other = await asyncio.gather(*loads)
    seen = await health
    return _reached(urgent, seen, seconds), _reached(other, seen, seconds)


def _request(timeout: float | None = None, priority: int = 2) -> bytes:
    """Return a request with a timeout of this many seconds."""
    n = {"name": "n", "datatype": "INT64", "shape": [1], "data": [TURNS]}
    wait = {"timeout": int(timeout * 1e6)} if timeout else {}
    more = {"parameters": {"priority": priority, **wait}}
    return post("/v2/models/counting/infer", json.dumps({"inputs": [n], **more}).encode())


async def _health(server: Server, seconds: float) -> Observed:
    """Request health fifty times a second."""
    return await open_loop(Load(server, [get("/v2/health/ready")], seconds, PATIENCE), 50, 2)


def _reached(seen: Observed, health: Observed, seconds: float) -> Reached:
    total = seen.errors.total() + len(seen.latencies)
    late = seen.errors["504"]
    # What was due in these seconds, and is answered until the last of it is.
    return Reached(
        len(seen.latencies) / max(seconds, seen.seconds),
        _p99(seen.latencies),
        _p99(health.latencies),
        (seen.errors.total() - late) / total,
        late / total,
    )


def _p99(seconds: list[float]) -> float:
    return quantiles(seconds, n=100)[98] if len(seconds) > 1 else float("nan")


def _told(rounds: list[Round]) -> bool:
    capacity = median(each.capacity for each in rounds)
    print(f"capacity {capacity:.0f} requests/s, {len(rounds)} rounds, medians")
    print("load  goodput : capacity  p99 ms  health p99 ms  refused     late")
    at = {}
    for share in LOADS:
        of = [each.loads[share] for each in rounds]
        goodput = median(each.loads[share].goodput / each.capacity for each in rounds)
        p99, health = (median(getattr(each, name) for each in of) for name in ("p99", "health"))
        refused, late = (median(getattr(each, name) for each in of) for name in ("refused", "late"))
        at[share] = goodput, p99, health
        figures = (
            f"{goodput:18.2f}  {p99 * 1e3:6.0f}  {health * 1e3:13.1f}  {refused:7.1%}  {late:7.1%}"
        )
        print(f"{share:4.1f}  {figures}")
    goodput, p99, health = at[2.0]
    ratio = p99 / at[USUAL][1]
    print(
        f"at 2.0: goodput {goodput:.2f} of the capacity (wanted {GOODPUT}), p99 {ratio:.2f} of that"
    )
    print(
        f"at 0.9 (wanted {P99:g}), health {health * 1e3:.1f} ms (wanted {HEALTH_SECONDS * 1e3:g})"
    )
    print(f"two priorities, {URGENT:g} and {OTHER:g} of the capacity:")
    for name in ("urgent", "other"):
        reached: list[Reached] = [getattr(each, name) for each in rounds]
        print(
            f"{name:6}  p99 {median(each.p99 for each in reached) * 1e3:.0f} ms,"
            f" refused {median(each.refused for each in reached):.1%},"
            f" late {median(each.late for each in reached):.1%}"
        )
    return goodput >= GOODPUT and ratio <= P99 and health <= HEALTH_SECONDS


if __name__ == "__main__":
    began = perf_counter()
    status = main()
    print(f"{perf_counter() - began:.0f} s")
    raise SystemExit(status)
