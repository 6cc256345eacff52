"""`python -m tests.benchmarks.scaling`: the cost of a request as one quantity grows, as plots.

Rows of a request, size of a tensor, models, connections, workers, instances. For the first four,
the cost must grow at most linearly: no step, no quadratic part. Costs are CPU time of the server
and its children, which hardly depends on other load of the machine.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import log
from pathlib import Path

import numpy as np

from service.bench import wire
from service.bench.loops import Load, closed_loop
from service.commands.line_plot import Line, svg
from tests import tiny_models
from tests.benchmarks import models, processes
from tests.benchmarks.servers import Launch, Server, serving
from tests.system.wire import post

LARGEST_POWER = 1.5
"""Of the growth of a cost over that of its cause, between two neighbours: 1 is a line, 2 a square.
Costs are measured one after the other, on a machine that may be busy, and lie around a line."""
WARM_UP, PATIENCE = 0.3, 30.0
LENGTH = "Inference_Header_Content_Length"
MIB = 2**20
ALL_MAY_WAIT = tiny_models.ONE_THREAD + "[batching]\nmax_queue_size = 4096\n"


@dataclass(frozen=True, slots=True)
class Curve:
    """``values`` at ``steps`` of a quantity. If ``bounded``, they must not grow faster."""

    name: str
    cause: str
    unit: str
    steps: Sequence[float]
    values: Sequence[float]
    bounded: bool

    def power(self) -> float:
        """The largest exponent of growth between two neighbouring steps."""
        points = list(zip(self.steps, self.values, strict=True))
        return max(
            log(value / before) / log(step / earlier)
            for (earlier, before), (step, value) in zip(points, points[1:], strict=False)
        )

    def told(self) -> str:
        """Return the curve as a line of text."""
        shown = ", ".join(f"{x:g}: {y:.4g}" for x, y in zip(self.steps, self.values, strict=True))
        power = f"; steepest exponent {self.power():.2f}" if self.bounded else ""
        return f"{self.name} ({self.unit} by {self.cause}): {shown}{power}"


def main() -> int:
    """Measure and draw every curve, and return whether one grows too fast."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.5, help="of each point")
    parser.add_argument("--only", choices=sorted(CURVES), help="one of them")
    parser.add_argument("--plots", type=Path, help="a folder for the plots, as SVG")
    given = parser.parse_args()
    missed = False
    for name in [given.only] if given.only else CURVES:
        for curve in CURVES[name](given.seconds):
            print(curve.told(), flush=True)
            if curve.bounded and curve.power() > LARGEST_POWER:
                missed = True
                print(f"  grows faster than its cause: wanted at most {LARGEST_POWER}")
            if given.plots:
                given.plots.mkdir(parents=True, exist_ok=True)
                ticks = [f"{step:g}" for step in curve.steps]
                drawn = svg(curve.name, curve.cause, curve.unit, [Line("", curve.values)], ticks)
                (given.plots / f"{curve.name.replace(' ', '-')}.svg").write_text(drawn)
    return 1 if missed else 0


def _rows(seconds: float) -> Iterator[Curve]:
    steps = (1, 4, 16, 64, 256, 1024)
    with tempfile.TemporaryDirectory() as folder:
        served = models.prepare("tiny", Path(folder))
        with _serving("tiny", served.repository) as server:
            costs = [_cost(server, _binary("tiny", "input", (n, 32)), 4, seconds) for n in steps]
    yield Curve("rows of a request", "rows", "CPU ms/request", steps, costs, bounded=True)


def _sizes(seconds: float) -> Iterator[Curve]:
    steps = (0.0625, 0.25, 1, 4, 16)
    with tempfile.TemporaryDirectory() as folder:
        tiny_models.identity(Path(folder), "FP32")
        with _serving("same_fp32", Path(folder)) as server:
            shapes = [(1, int(step * MIB / 4)) for step in steps]
            costs = [
                _cost(server, _binary("same_fp32", "x", shape), 2, seconds) for shape in shapes
            ]
    yield Curve("size of a tensor", "MiB", "CPU ms/request", steps, costs, bounded=True)


def _models(seconds: float) -> Iterator[Curve]:
    steps, costs, memory = (1, 10, 100), [], []
    for count in steps:
        with tempfile.TemporaryDirectory() as folder:
            for number in range(count):
                tiny_models.counting(Path(folder), f"m{number}")
            with _serving("m0", Path(folder)) as server:
                costs.append(_cost(server, _counting("m0"), 8, seconds))
                memory.append(processes.memory(server.pid).rss_mb)
    yield Curve("models loaded", "models", "CPU ms/request of one", steps, costs, bounded=True)
    yield Curve("memory of models", "models", "resident MB", steps, memory, bounded=True)


def _connections(seconds: float) -> Iterator[Curve]:
    steps = (8, 32, 128, 512, 2000)
    with tempfile.TemporaryDirectory() as folder:
        tiny_models.counting(Path(folder), toml=ALL_MAY_WAIT)
        with _serving("counting", Path(folder)) as server:
            costs = [_cost(server, _counting("counting"), step, seconds) for step in steps]
    yield Curve("connections", "connections", "CPU ms/request", steps, costs, bounded=True)


def _workers(seconds: float) -> Iterator[Curve]:
    steps, rates, memory = (1, 2, 3, 4), [], []
    for step in steps:
        with tempfile.TemporaryDirectory() as folder:
            tiny_models.counting(Path(folder))
            with _serving("counting", Path(folder), "--workers", str(step)) as server:
                rates.append(_rate(server, _counting("counting"), 64, seconds))
                memory.append(processes.proportional_mb(server.pid))
    yield Curve("workers", "workers", "requests/s", steps, rates, bounded=False)
    yield Curve(
        "memory of workers", "workers", "MB, shared pages divided", steps, memory, bounded=False
    )


def _instances(seconds: float) -> Iterator[Curve]:
    steps, rates = (1, 2, 4), []
    for step in steps:
        with tempfile.TemporaryDirectory() as folder:
            toml = f"[instances]\ncount = {step}\nthreads = 1\n"
            tiny_models.counting(Path(folder), toml=toml)
            with _serving("counting", Path(folder)) as server:
                rates.append(_rate(server, _counting("counting", 10_000), 16, seconds))
    yield Curve("instances", "instances of one thread", "requests/s", steps, rates, bounded=False)


CURVES: dict[str, Callable[[float], Iterator[Curve]]] = {
    "rows": _rows,
    "sizes": _sizes,
    "models": _models,
    "connections": _connections,
    "workers": _workers,
    "instances": _instances,
}


@contextmanager
def _serving(model: str, folder: Path, *options: str) -> Iterator[Server]:
    """Start a server without other load."""
    arguments = ("serve", "--models", str(folder), *options)
    with serving(
        Launch("quantserve", model, "service", arguments), Path(tempfile.gettempdir())
    ) as server:
        server.settle()
        yield server


def _cost(server: Server, request: bytes, clients: int, seconds: float) -> float:
    """Return the CPU milliseconds of a request."""
    _answered(server, request, clients, WARM_UP)
    before = processes.cpu_seconds(server.pid)
    answered, _ = _answered(server, request, clients, seconds)
    return 1000 * (processes.cpu_seconds(server.pid) - before) / answered


def _rate(server: Server, request: bytes, clients: int, seconds: float) -> float:
    """Return the requests/s."""
    _answered(server, request, clients, WARM_UP)
    answered, took = _answered(server, request, clients, seconds)
    return answered / took


def _answered(server: Server, request: bytes, clients: int, seconds: float) -> tuple[int, float]:
    """Return the number of answered requests, and the seconds that they took.

    Raises:
        RuntimeError: a request was not answered.
    """
    address = wire.Server("127.0.0.1", server.port, secure=False, prefix="")
    seen = asyncio.run(closed_loop(Load(address, [request], seconds, PATIENCE), clients))
    if seen.errors:
        raise RuntimeError(f"not answered: {dict(seen.errors)} {seen.reasons}")
    return len(seen.latencies), seen.seconds


def _binary(model: str, name: str, shape: tuple[int, int]) -> bytes:
    """Return a request with one FP32 tensor, whose answer is binary too."""
    size = 4 * shape[0] * shape[1]
    tensor = {"name": name, "datatype": "FP32", "shape": shape}
    head = json.dumps({
        "inputs": [{**tensor, "parameters": {"binary_data_size": size}}],
        "parameters": {"binary_data_output": True},
    }).encode()  # fmt: skip
    values = np.random.default_rng(0).random(shape, np.float32)
    path = f"/v2/models/{model}/infer"
    return post(path, head + values.tobytes(), **{LENGTH: str(len(head))})


def _counting(model: str, turns: int = 1) -> bytes:
    """Return a request to a model that counts, about a microsecond per step."""
    n = {"name": "n", "datatype": "INT64", "shape": [1], "data": [turns]}
    return post(f"/v2/models/{model}/infer", json.dumps({"inputs": [n]}).encode())


if __name__ == "__main__":
    sys.exit(main())
