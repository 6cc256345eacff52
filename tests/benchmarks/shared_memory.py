"""`python -m tests.benchmarks.shared_memory`: inputs of 600 kB in shared memory, compared to the
same inputs in the request as raw bytes.

The model averages an image of 3 x 224 x 224 FP32, which is cheap. wrk sends requests over HTTP, on
connections that are never idle; it sends the same input each time, and does not write the region.
Triton's clients use HTTP and gRPC, one process and several, and write each input to their own
region: see ``shared_memory_clients.py``. All run alternately. The output is the medians of
requests/s, the ratios of the medians, and the lowest and highest ratio of a round.

Target: 1.5 over HTTP.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import orjson
import tritonclient.utils.shared_memory as shm

from tests.benchmarks import machine, protocol, wrk
from tests.benchmarks.line import Line
from tests.benchmarks.protocol import Message, Protocol
from tests.benchmarks.shared_memory_clients import (
    BYTES,
    PREFIX,
    SHAPE,
    Clients,
    Job,
    images,
    region,
)
from tests.engine.graphs import model, node, value
from tests.repositories import put
from tests.system.clients import connected
from tests.system.process import running
from tests.system.wire import free_port

TITLES = {"http": "HTTP", "grpc": "gRPC"}
TARGET = 1.5
Measure = Callable[[float], float]
"""Asks for so many seconds; gives requests/s."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of one run")
    parser.add_argument("--clients", type=int, default=8, help="connections of wrk")
    parser.add_argument("--processes", type=int, default=4, help="clients of Triton's, beside one")
    parser.add_argument("--check", action="store_true", help="exit with 1 below the target")
    given = parser.parse_args()
    print("\n".join(machine.description()))
    image = images()[0]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        graph = model(
            [node("GlobalAveragePool", "x", to="y")],
            [value("x", ["batch", *SHAPE[1:]])],
            [value("y", ["batch", 3, 1, 1])],
        )
        put(folder / "models", "m", 1, graph.SerializeToString())
        port = free_port()
        flags = ("--shared-memory", PREFIX, "--grpc-port", str(port))
        with (
            running(folder / "models", *flags) as served,
            connected("http", served.address) as asking,
            region(asking.client) as (handle, name),
            ExitStack() as stack,
        ):
            shm.set_shared_memory_region(handle, [image])
            url = f"http://{served.address}/v2/models/m/infer"
            direct = protocol.request(Protocol.BINARY, {"x": image}, ("y",))
            contests: dict[str, tuple[Measure, Measure]] = {
                f"HTTP, wrk, {given.clients} connections": (
                    loaded(url, direct, folder / "direct", given.clients),
                    loaded(url, lying(name), folder / "lying", given.clients),
                )
            }
            addresses = {"http": served.address, "grpc": f"127.0.0.1:{port}"}
            for count in (1, given.processes):
                clients = Clients(count)
                stack.callback(clients.close)
                for by, address in addresses.items():
                    title = f"{TITLES[by]}, tritonclient, clients: {count}"
                    contests[title] = (
                        asked(clients, by, address, shared=False),
                        asked(clients, by, address, shared=True),
                    )
            return int(not compare(contests, given.rounds, given.seconds) and given.check)


def asked(clients: Clients, by: str, address: str, *, shared: bool) -> Measure:
    """Measure Triton's clients, with inputs in the request or in shared memory."""

    def measure(seconds: float) -> float:
        return clients.measure(Job(by, address, shared, seconds))

    return measure


def compare(contests: dict[str, tuple[Measure, Measure]], rounds: int, seconds: float) -> bool:
    """Measure alternately, and print the medians; return whether HTTP reaches the target."""
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in contests}
    for number in range(rounds + 1):
        for name, both in contests.items():
            for side in (0, 1) if number % 2 else (1, 0):
                rate = both[side](seconds if number else 0.5)
                if number:  # the first round warms up
                    found[name][side].append(rate)
    print(f"requests/s, medians of {rounds} rounds")
    lines = []
    for name, (direct, shared) in found.items():
        ratios = [b / a for a, b in zip(direct, shared, strict=True)]
        middle = median(shared) / median(direct)
        print(
            f"  {name:33} in the request {median(direct):6.0f}, in shared memory"
            f" {median(shared):6.0f}: {middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )
        if name.startswith(TITLES["http"]):
            lines.append(Line(name, TARGET, middle))
    print(*lines, sep="\n")
    return all(line.reached for line in lines)


def lying(name: str) -> Message:
    """Return a request whose input is in the region."""
    where = {"shared_memory_region": name, "shared_memory_byte_size": BYTES}
    tensor = {"name": "x", "datatype": "FP32", "shape": SHAPE, "parameters": where}
    output = {"name": "y", "parameters": {"binary_data": True}}
    text = orjson.dumps({"inputs": [tensor], "outputs": [output]})
    return Message(text, "application/json")


def loaded(url: str, message: Message, body: Path, clients: int) -> Measure:
    """Measure connections that are never idle."""
    body.write_bytes(message.content)
    load = wrk.Load(url, body, message)

    def measure(seconds: float) -> float:
        outcome = wrk.run(load, clients, max(1, round(seconds)))
        return outcome.requests / outcome.seconds

    return measure


if __name__ == "__main__":
    sys.exit(main())
