"""Requests/s through the balancer with one, two and three servers, relative to one process without
a container on this machine. The runs alternate, with the same client (wrk).
"""

import shutil
from statistics import median

from tests.benchmarks.protocol import Message
from tests.benchmarks.wrk import Load, run
from tests.deploy.composed import DIGITS, PORTS, servers_up
from tests.deploy.engine import stack
from tests.deploy.load import until
from tests.deploy.prometheus import free_port
from tests.system.process import ROOT, running

CLIENTS = 16
SECONDS = 3
ROUNDS = 3


def measure_scale(report: dict[str, str]) -> None:
    """Measure the requests/s. Requires wrk; each server may use one core."""
    if shutil.which("wrk") is None:
        report["requests/s by servers"] = "not measured: wrk is not installed"
        return
    ports = {name: free_port() for name in PORTS}
    with stack(f"quantserve-test-{ports['SERVER_PORT']}", ports) as each:
        for servers in (1, 2, 3):
            wanted = ["--scale", f"replica={servers - 1}", "quantserve", "balancer", "replica"]
            each.compose("up", "--wait", "--no-build", *wanted)
            until(lambda: servers_up(ports["BALANCER_STATUS_PORT"]) == servers, 60, "all up")  # noqa: B023
            with running(ROOT / "models", "--cores", "1") as bare:
                bare_port = int(bare.address.rpartition(":")[2])
                ratio = compared(ports["BALANCER_PORT"], bare_port)
            report[f"requests/s, {servers} servers to one bare process"] = f"{ratio:.2f}"


def compared(port: int, reference: int) -> float:
    """Return the median of the ratios, each of two consecutive runs."""
    return median(rate(port) / rate(reference) for _ in range(ROUNDS))


def rate(port: int) -> float:
    url = f"http://127.0.0.1:{port}/v2/models/{DIGITS.name}/infer"
    message = Message((DIGITS / "example.json").read_bytes(), "application/json")
    found = run(Load(url, DIGITS / "example.json", message), CLIENTS, SECONDS)
    return found.requests / found.seconds
