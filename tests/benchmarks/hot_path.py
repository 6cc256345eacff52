"""`python -m tests.benchmarks.hot_path BEFORE`: this checkout compared to another, on the tiny MLP.

JSON and binary, 32 clients; servers run alternately, each with the Python of its checkout's .venv.
The first one changes with each round. Prints requests/s, CPU time of a request, start time
and memory of each round, then the medians of the ratios and their spread. The CPU time is the
steadiest of them on a busy machine.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

from tests.benchmarks import models, processes, protocol, servers, wrk
from tests.benchmarks.protocol import Protocol
from tests.patience import until

CLIENTS = 32
MODEL = "tiny"


@dataclass(frozen=True, slots=True)
class Started:
    """A running server."""

    pid: int
    port: int
    start_seconds: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path, help="another checkout, installed in its .venv")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--duration", type=int, default=3, help="seconds of one run")
    given = parser.parse_args()
    ratios: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        served = models.prepare(MODEL, Path(scratch))
        for turn in range(given.rounds):
            sides = [given.before.resolve(), servers.ROOT]
            found = {
                side: measured(side, served, Path(scratch), given.duration)
                for side in sides[:: 1 if turn % 2 else -1]
            }
            before, after = (found[side] for side in sides)
            print(f"round {turn + 1}", flush=True)
            for what in before:
                ratio = after[what] / before[what]
                ratios.setdefault(what, []).append(ratio)
                print(f"  {what:22} {before[what]:10.2f} {after[what]:10.2f} {ratio:7.3f}")
    print("after : before, medians")
    for what, each in ratios.items():
        print(f"  {what:22} {median(each):.3f} ({min(each):.3f} to {max(each):.3f})")
    return 0


def measured(
    checkout: Path, served: models.Served, scratch: Path, seconds: int
) -> dict[str, float]:
    """Return the figures of a checkout's server, by name."""
    found: dict[str, float] = {}
    with serving(checkout, served.repository) as server:
        found["start, s"] = server.start_seconds
        for form in Protocol:
            message = protocol.request(form, models.inputs(served.graph, 0), ("output",))
            body = scratch / "body"
            body.write_bytes(message.content)
            load = wrk.Load(
                f"http://127.0.0.1:{server.port}/v2/models/{MODEL}/infer", body, message
            )
            wrk.run(load, CLIENTS, 1)
            used = processes.cpu_seconds(server.pid)
            outcome = wrk.run(load, CLIENTS, seconds)
            used = processes.cpu_seconds(server.pid) - used
            found[f"{form.value}, requests/s"] = outcome.requests / outcome.seconds
            found[f"{form.value}, CPU us"] = used / outcome.requests * 1e6
        found["memory, MB"] = processes.proportional_mb(server.pid)
    return found


@contextmanager
def serving(checkout: Path, repository: Path) -> Iterator[Started]:
    """Start the server of a checkout."""
    port = servers.free_port()
    command = [str(checkout / ".venv/bin/python"), "-m", "service", "serve"]
    command += ["--models", str(repository), "--port", str(port), "--log-level", "error"]
    began = perf_counter()
    process = subprocess.Popen(
        command, cwd=checkout, env={**os.environ, "QUANTSERVE_ADMIN_KEY": servers.ADMIN_KEY},
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(lambda: servers.is_ready(port, MODEL))
        yield Started(process.pid, port, perf_counter() - began)
    finally:
        process.terminate()
        process.wait(60)


if __name__ == "__main__":
    sys.exit(main())
