"""`python -m tests.benchmarks.fairness`: the cost of a flood on one model for requests to another.

Open loop: one model gets a few requests at a constant rate, first alone, then while a closed loop
of many clients floods another one. Both models have runs of some milliseconds in threads. The rate
must be far below the capacity of the first model during the flood, else its own queue counts.
"""

import argparse
import asyncio
import json
import tempfile
from pathlib import Path
from statistics import median, quantiles

from service.bench.loops import Load, Observed, closed_loop, open_loop
from service.bench.wire import Server
from tests import tiny_models
from tests.system.process import running
from tests.system.wire import post

CLIENTS, CONNECTIONS, PATIENCE = 32, 64, 10.0
P99 = 2.0
"""Wanted: the 99th percentile beside a flood, to that of the model alone."""


def main() -> int:
    """Measure, print, and return whether the target was met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
    parser.add_argument("--flooded-weight", type=float, default=1.0)
    parser.add_argument("--flooded", type=int, default=1, help="models that are flooded")
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second")
    parser.add_argument("--turns", type=int, default=4_000, help="of a run, about 1 us each")
    arguments = parser.parse_args()
    rate, turns = arguments.rate, arguments.turns
    flooded = [f"flooded{number}" for number in range(arguments.flooded)]
    with tempfile.TemporaryDirectory() as folder:
        weight = f"[scheduling]\nweight = {arguments.flooded_weight:g}\n"
        instances = "[instances]\ncount = 2\nthreads = 1\n"
        for name in flooded:
            tiny_models.counting(Path(folder), name, instances + weight)
        tiny_models.counting(Path(folder), "other", "[instances]\ncount = 1\nthreads = 1\n")
        with running(Path(folder)) as server:
            address = Server("127.0.0.1", server.port, secure=False, prefix="")
            rounds = [
                asyncio.run(_round(address, arguments.seconds, rate, turns, flooded))
                for _ in range(arguments.rounds)
            ]
    return 0 if _told(rounds, rate) else 1


async def _round(
    server: Server, seconds: float, rate: float, turns: int, flooded: list[str]
) -> tuple[Observed, Observed, Observed]:
    """Measure the first model alone, then during the flood, and the flood."""
    load = Load(server, [_request("other", turns)], seconds, PATIENCE)
    alone = await open_loop(load, rate, CONNECTIONS)
    flood = asyncio.ensure_future(
        closed_loop(
            Load(server, [_request(name, turns) for name in flooded], seconds, PATIENCE), CLIENTS
        )
    )
    beside = await open_loop(load, rate, CONNECTIONS)
    return alone, beside, await flood


def _request(model: str, turns: int) -> bytes:
    n = {"name": "n", "datatype": "INT64", "shape": [1], "data": [turns]}
    return post(f"/v2/models/{model}/infer", json.dumps({"inputs": [n]}).encode())


def _at(seen: Observed, percent: int) -> float:
    """Return a percentile of the latencies, in milliseconds."""
    return quantiles(seen.latencies, n=100)[percent - 1] * 1e3


def _told(rounds: list[tuple[Observed, Observed, Observed]], rate: float) -> bool:
    assert not any(seen.errors for each in rounds for seen in each), "requests failed"
    print(f"{rate:g} requests/s to one model, {CLIENTS} clients on another, {len(rounds)} rounds")
    for name, at in (("alone", 0), ("beside a flood", 1)):
        p50, p99 = (median(_at(each[at], percent) for each in rounds) for percent in (50, 99))
        print(f"{name:>15}: p50 {p50:6.1f} ms, p99 {p99:6.1f} ms")
    flooded = median(len(flood.latencies) / flood.seconds for _, _, flood in rounds)
    ratio = median(_at(beside, 99) / _at(alone, 99) for alone, beside, _ in rounds)
    print(f"the flood: {flooded:.0f} requests/s; p99 to alone {ratio:.2f} (wanted {P99:g})")
    return ratio <= P99


if __name__ == "__main__":
    raise SystemExit(main())
