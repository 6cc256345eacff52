"""`python -m tests.benchmarks.shared_memory`: inputs of 600 kB in shared memory to the same inputs
in the request, as raw bytes.

The model averages an image of 3 x 224 x 224 FP32, which costs little. wrk asks over HTTP, by
connections that are never idle; it sends the same input each time, and does not write the region.
Triton's clients ask over HTTP and gRPC, one after another, and write each input to the region. All
are run in turns; what is printed are medians of requests/s, and the ratios of the medians.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from types import ModuleType
from typing import Any

import numpy as np
import orjson
import tritonclient.grpc
import tritonclient.http
import tritonclient.utils.shared_memory as shm

from tests.benchmarks import machine, protocol, wrk
from tests.benchmarks.protocol import Message, Protocol
from tests.engine.graphs import model, node, value
from tests.repositories import put
from tests.system.process import running
from tests.system.wire import free_port

SHAPE = (1, 3, 224, 224)
REGION, PREFIX = "rows", "quantserve-benchmark-"
TARGET = 1.5
Measure = Callable[[float], float]
"""Asks for so many seconds; gives requests/s."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of one run")
    parser.add_argument("--clients", type=int, default=8, help="connections of wrk")
    given = parser.parse_args()
    print("\n".join(machine.description()))
    image = np.random.default_rng(0).random(SHAPE, np.float32)
    with tempfile.TemporaryDirectory() as scratch, region(image.nbytes) as (handle, key):
        folder = Path(scratch)
        graph = model(
            [node("GlobalAveragePool", "x", to="y")],
            [value("x", ["batch", *SHAPE[1:]])],
            [value("y", ["batch", 3, 1, 1])],
        )
        put(folder / "models", "m", 1, graph.SerializeToString())
        port = free_port()
        flags = ("--shared-memory", PREFIX, "--grpc-port", str(port))
        with running(folder / "models", *flags) as served:
            addresses = {
                tritonclient.http: served.address, tritonclient.grpc: f"127.0.0.1:{port}",
            }  # fmt: skip
            with tritonclient.http.InferenceServerClient(served.address) as client:
                client.register_system_shared_memory(REGION, key, image.nbytes)
            shm.set_shared_memory_region(handle, [image])
            url = f"http://{served.address}/v2/models/m/infer"
            direct = protocol.request(Protocol.BINARY, {"x": image}, ("y",))
            contests: dict[str, tuple[Measure, Measure]] = {
                f"HTTP, wrk, {given.clients} connections": (
                    loaded(url, direct, folder / "direct", given.clients),
                    loaded(url, lying(image), folder / "lying", given.clients),
                )
            }
            for module, name in ((tritonclient.http, "HTTP"), (tritonclient.grpc, "gRPC")):
                with_bytes, with_region = asking(module, addresses[module], handle, image)
                contests[f"{name}, tritonclient, 1"] = (with_bytes, with_region)
            compare(contests, given.rounds, given.seconds)


def compare(contests: dict[str, tuple[Measure, Measure]], rounds: int, seconds: float) -> None:
    """Measure in turns, and print the medians."""
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in contests}
    for number in range(rounds + 1):
        for name, both in contests.items():
            for side in (0, 1) if number % 2 else (1, 0):
                rate = both[side](seconds if number else 0.5)
                if number:  # the first round warms up
                    found[name][side].append(rate)
    print(f"requests/s, medians of {rounds} rounds; target {TARGET} over HTTP")
    for name, (direct, shared) in found.items():
        ratios = [b / a for a, b in zip(direct, shared, strict=True)]
        print(
            f"{name:28} in the request {median(direct):7.0f}, in shared memory"
            f" {median(shared):7.0f}: {median(shared) / median(direct):.2f}"
            f" ({min(ratios):.2f} to {max(ratios):.2f})"
        )


@contextmanager
def region(size: int) -> Iterator[tuple[Any, str]]:
    """Shared memory of this process, and its key."""
    key = f"{PREFIX}{os.getpid()}"
    handle = shm.create_shared_memory_region(REGION, key, size, create_only=True)
    try:
        yield handle, key
    finally:
        shm.destroy_shared_memory_region(handle)


def lying(image: np.ndarray) -> Message:
    """A request whose input lies in the region."""
    where = {"shared_memory_region": REGION, "shared_memory_byte_size": image.nbytes}
    tensor = {"name": "x", "datatype": "FP32", "shape": SHAPE, "parameters": where}
    output = {"name": "y", "parameters": {"binary_data": True}}
    text = orjson.dumps({"inputs": [tensor], "outputs": [output]})
    return Message(text, "application/json")


def loaded(url: str, message: Message, body: Path, clients: int) -> Measure:
    """Connections that are never idle."""
    body.write_bytes(message.content)
    load = wrk.Load(url, body, message)

    def measure(seconds: float) -> float:
        outcome = wrk.run(load, clients, max(1, round(seconds)))
        return outcome.requests / outcome.seconds

    return measure


def asking(
    module: ModuleType, address: str, handle: Any, image: np.ndarray
) -> tuple[Measure, Measure]:
    """One client of Triton's, with inputs in the request and with inputs in the region."""
    wanted = image.mean((2, 3), keepdims=True)

    def with_bytes(client: Any) -> Any:
        tensor = module.InferInput("x", list(SHAPE), "FP32")
        tensor.set_data_from_numpy(image)
        return client.infer("m", [tensor])

    def with_region(client: Any) -> Any:
        shm.set_shared_memory_region(handle, [image])
        tensor = module.InferInput("x", list(SHAPE), "FP32")
        tensor.set_shared_memory(REGION, image.nbytes)
        return client.infer("m", [tensor])

    def measured(ask: Callable[[Any], Any]) -> Measure:
        def measure(seconds: float) -> float:
            with module.InferenceServerClient(address) as client:
                np.testing.assert_allclose(ask(client).as_numpy("y"), wanted, 1e-4)
                began, count = perf_counter(), 0
                while perf_counter() - began < seconds:
                    ask(client)
                    count += 1
                return count / (perf_counter() - began)

        return measure

    return measured(with_bytes), measured(with_region)


if __name__ == "__main__":
    main()
