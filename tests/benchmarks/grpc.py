"""`python -m tests.benchmarks.grpc`: requests/s over gRPC to an empty call of grpc.aio.

A tiny MLP and a model with inputs and outputs of 600 kB; 32 clients, each on its connection: h2load
(apt-get install nghttp2-client), since a client in Python would take more of the machine than the
server. The empty call answers as many bytes as the model. Servers run alternately; the first one
changes with each round. Prints each round, the median of the ratios, the CPU time of a
request in each server, and for the tiny MLP requests/s of JSON over HTTP.

Target: 0.6 of the empty call.
"""

import argparse
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import grpc
import numpy as np
from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelInferResponse

from tests import tiny_models
from tests.benchmarks import models, processes, protocol, servers, wrk
from tests.patience import until

METHOD = "/inference.GRPCInferenceService/ModelInfer"
TARGET = 0.6
LARGE = 150_000
"""Numbers of FP32 in a large request, and in its answer."""


class Case(NamedTuple):
    """A model, a request for it, and the size of its answer in bytes."""

    model: str
    repository: Path
    body: Path
    answer: int


class Run(NamedTuple):
    """The measurement of one server: answers/s, and the CPU time of each in ms."""

    rate: float
    cpu: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--duration", type=int, default=3, help="seconds of one run")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--models", default="tiny,large")
    parser.add_argument("--check", action="store_true", help="exit with 1 below the target")
    given = parser.parse_args()
    worst = 1.0
    with tempfile.TemporaryDirectory() as scratch:
        for name in given.models.split(","):
            (folder := Path(scratch) / name).mkdir()
            case = tiny(folder) if name == "tiny" else large(folder)
            worst = min(worst, compare(case, given.rounds, given.duration, given.clients))
            if name == "tiny":
                print(f"JSON over HTTP, wrk: {over_http(case, given):7.0f} requests/s")
    return int(given.check and worst < TARGET)


def tiny(folder: Path) -> Case:
    """Return the tiny MLP of the other benchmarks."""
    served = models.prepare("tiny", folder)
    [(name, array)] = models.inputs(served.graph, 0).items()
    return case("tiny", served.repository, name, array, (1, 10), folder)


def large(folder: Path) -> Case:
    """Return a model that returns its input."""
    (repository := folder / "models").mkdir()
    tiny_models.identity(repository, "FP32")
    array = np.ones((1, LARGE), np.float32)
    return case("same_fp32", repository, "x", array, array.shape, folder)


def case(
    model: str, repository: Path, name: str, array: np.ndarray, gives: tuple[int, ...], folder: Path
) -> Case:
    request = ModelInferRequest(model_name=model, raw_input_contents=[array.tobytes()])
    request.inputs.add(name=name, datatype="FP32", shape=array.shape)
    (body := folder / "body").write_bytes(request.SerializeToString())
    with quantserve(repository, model) as (port, _):
        answer = once(port, body)
        found = ModelInferResponse.FromString(answer)
        assert tuple(found.outputs[0].shape) == gives, found
    return Case(model, repository, body, len(answer))


def once(port: int, body: Path) -> bytes:
    with grpc.insecure_channel(
        f"127.0.0.1:{port}", (("grpc.max_receive_message_length", -1),)
    ) as channel:
        ask = channel.unary_unary(METHOD)
        answer: bytes = ask(body.read_bytes(), wait_for_ready=True, timeout=60)
        return answer


def compare(case: Case, rounds: int, seconds: int, clients: int) -> float:
    """The median of the ratios."""
    size = case.body.stat().st_size
    print(f"{case.model}: {size} bytes to {case.answer}, {clients} clients")
    ratios, costs = [], []
    for turn in range(rounds):
        found = {}
        for side in ("echo", "quantserve")[:: 1 if turn % 2 else -1]:
            here = echo(case.answer) if side == "echo" else quantserve(*case[1::-1])
            with here as (port, process):
                found[side] = measured(case, port, process, seconds, clients)
        limit, ours = found["echo"], found["quantserve"]
        ratios.append(ours.rate / limit.rate)
        costs.append((limit.cpu, ours.cpu))
        print(
            f"  round {turn + 1}: empty {limit.rate:7.0f} /s, quantserve {ours.rate:7.0f} /s,"
            f" {ratios[-1]:.3f}"
        )
    empty, mine = (median(side) for side in zip(*costs, strict=True))
    print(
        f"  quantserve : empty {median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}),"
        f" CPU of the server {mine:.3f} and {empty:.3f} ms a request; target {TARGET}"
    )
    return median(ratios)


def measured(case: Case, port: int, process: int, seconds: int, clients: int) -> Run:
    """Load a server, after one second of warm-up."""
    assert len(once(port, case.body)) == case.answer
    load(case, port, 1, clients)
    before = processes.cpu_seconds(process)
    answers = load(case, port, seconds, clients)
    spent = processes.cpu_seconds(process) - before
    assert len(once(port, case.body)) == case.answer
    return Run(answers / seconds, 1000 * spent / answers)


def load(case: Case, port: int, seconds: int, clients: int) -> int:
    """Return the answers to clients that send one call after the other."""
    frame = case.body.with_name("frame")
    message = case.body.read_bytes()
    frame.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    command = ["h2load", "-D", str(seconds), "-c", str(clients), "-m", "1", "-t", "1"]
    command += ["-d", str(frame), "-H", "content-type: application/grpc", "-H", "te: trailers"]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}{METHOD}"], capture_output=True, text=True, check=True
    )
    found = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed", done.stdout)
    assert found and found[1] == found[2], done.stdout
    return int(found[2])


def over_http(case: Case, given: argparse.Namespace) -> float:
    """Return the requests/s of the same model with JSON over HTTP."""
    graph = case.repository / case.model / "1/model.onnx"
    message = protocol.request(protocol.Protocol.JSON, models.inputs(graph, 0), ())
    body = case.body.with_name("body.json")
    body.write_bytes(message.content)
    with quantserve(case.repository, case.model, http=True) as (port, _):
        load = wrk.Load(f"http://127.0.0.1:{port}/v2/models/{case.model}/infer", body, message)
        found = wrk.run(load, given.clients, given.duration)
    return found.requests / found.seconds


@contextmanager
def echo(size: int) -> Iterator[tuple[int, int]]:
    """Start the server of the empty call; yield port and process."""
    port = free_port()
    command = ["-m", "tests.benchmarks.grpc_echo", "--port", str(port), "--bytes", str(size)]
    with running(command) as process:
        yield port, process


@contextmanager
def quantserve(repository: Path, model: str, http: bool = False) -> Iterator[tuple[int, int]]:
    """Start quantserve; yield its port for gRPC or HTTP, and its process."""
    port, by_grpc = free_port(), free_port()
    command = ["-m", "service", "serve", "--models", str(repository), "--port", str(port)]
    command += ["--grpc-port", str(by_grpc), "--log-level", "error", "--no-supervisor"]
    with running(command) as process:
        until(lambda: servers.is_ready(port, model))
        yield port if http else by_grpc, process


@contextmanager
def running(command: list[str]) -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, *command], cwd=servers.ROOT, stdout=subprocess.DEVNULL
    )
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(60)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
