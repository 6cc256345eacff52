"""`python -m tests.benchmarks.endless`: the cost of endless runs for requests to other models, and
the time that the process takes to stop with them.

A constant stream of requests to the digit model, quiet and under each attack, alternately; the 99th
percentiles of one round are compared with each other. Then a signal while every model is busy.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from time import monotonic

import numpy as np

from tests import tiny_models
from tests.system.process import KEY, ROOT, Running, running
from tests.system.wire import Line, post

TARGET_SECONDS = 0.05
"""More than the quiet 99th percentile."""
TARGET_EXIT_SECONDS = 1.0
"""More than the shutdown timeout."""
FOR_EVER, GIGABYTE = 2**62, 2**28
STUCK, STUCK_FOR_LONG = 150_000, 900_000
"""Boxes: about ten seconds in one node, so that a round leaves no thread at work to the next; and
minutes."""
LOAD = "/v2/repository/models/comparing/load"
RUN_TIMEOUT = 2.0
REFUSED_SECONDS = 0.2

Attack = Callable[[int, threading.Event], None]


def main() -> int:
    """Measure, print, and return whether all targets were met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each attack")
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = _models(Path(folder) / "models")
        with running(models) as server:
            met = _attacked(server, Path(folder), arguments)
        return 0 if _ends(models) and met else 1


def _models(folder: Path) -> Path:
    shutil.copytree(ROOT / "models/digits", folder / "digits")
    for make in (tiny_models.counting, tiny_models.comparing, tiny_models.allocating):
        make(folder, toml="")
        (folder / make.__name__ / "model.toml").write_text(f"[limits]\nrun_timeout = {RUN_TIMEOUT}")
    return folder


def _request(model: str, n: int) -> bytes:
    body = {"inputs": [{"name": "n", "datatype": "INT64", "shape": [1], "data": [n]}]}
    return post(f"/v2/models/{model}/infer", json.dumps(body).encode())


def _digits(rows: int) -> bytes:
    data = np.random.default_rng(0).random((rows, 1, 28, 28)).round(3)
    tensor = {"name": "image", "datatype": "FP32", "shape": list(data.shape)}
    return json.dumps({"inputs": [{**tensor, "data": data.ravel().tolist()}]}).encode()


def _asking(request: bytes, clients: int) -> Attack:
    def attack(port: int, over: threading.Event) -> None:
        def client() -> None:
            while not over.is_set():
                with suppress(OSError), Line(port) as line:
                    if line.ask(request).status == 503:
                        over.wait(REFUSED_SECONDS)  # a flood is another attack

        threads = [threading.Thread(target=client) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return attack


ATTACKS: dict[str, Attack] = {
    "a loop without end": _asking(_request("counting", FOR_EVER), 1),
    "loops in all instances": _asking(_request("counting", FOR_EVER), 8),
    "1 GB by a value": _asking(_request("allocating", GIGABYTE), 1),
    "a node that does not return": _asking(_request("comparing", STUCK), 1),
}


def _attacked(server: Running, folder: Path, arguments: argparse.Namespace) -> bool:
    found: dict[str, list[float]] = {name: [] for name in ("quiet", *ATTACKS)}
    for _ in range(arguments.rounds):
        for name in found:
            server.ask(post(LOAD, b"{}", **{"X-API-Key": KEY}))
            with _under(ATTACKS.get(name), server.port):
                found[name].append(_p99(server.port, folder, arguments))
    met = True
    for name in ATTACKS:
        more = median(a - q for a, q in zip(found[name], found["quiet"], strict=True))
        met &= more <= TARGET_SECONDS
        print(f"{name}: p99 {1e3 * median(found[name]):.1f} ms, {1e3 * more:+.1f} ms to quiet")
    print(f"quiet: p99 {1e3 * median(found['quiet']):.1f} ms, rounds {arguments.rounds}")
    return met


@contextmanager
def _under(attack: Attack | None, port: int) -> Iterator[None]:
    over = threading.Event()
    thread = threading.Thread(target=attack or (lambda *_: None), args=(port, over))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _p99(port: int, folder: Path, arguments: argparse.Namespace) -> float:
    body, out = folder / "body.json", folder / "out.npy"
    body.write_bytes(_digits(1))
    command = [sys.executable, "-m", "tests.benchmarks.paced", "--port", str(port)]
    command += ["--path", "/v2/models/digits/infer", "--body", str(body), "--out", str(out)]
    command += ["--rate", str(arguments.rate), "--seconds", str(arguments.seconds)]
    subprocess.run(command, check=True, cwd=ROOT)
    rows = np.load(out)
    assert set(rows[:, 2]) == {200}
    return float(np.percentile(rows[:, 1] - rows[:, 0], 99))


def _ends(models: Path) -> bool:
    for name in ("counting", "comparing"):
        (models / name / "model.toml").write_text("")
    timeout, met = 2.0, True
    with running(models, "--shutdown-timeout", str(timeout), code=1) as server:
        requests = [_request("counting", FOR_EVER)] * 4 + [
            _request("comparing", STUCK_FOR_LONG)
        ] * 2
        lines = [server.line() for _ in requests]
        for line, request in zip(lines, requests, strict=True):
            line.socket.sendall(request)
        assert server.ask(post("/v2/models/digits/infer", _digits(1))).status == 200
        started = monotonic()
        server.process.terminate()
        server.process.wait(60)
        more = monotonic() - started - timeout
        met = more <= TARGET_EXIT_SECONDS
        print(f"exit {more:.2f} s after the shutdown timeout of {timeout:g} s")
        for line in lines:
            line.socket.close()
    return met


if __name__ == "__main__":
    sys.exit(main())
