"""`python -m tests.benchmarks.attacks [name ...]`: the cost of hostile clients for other clients.

A server with a small memory budget serves the digit model and one whose answers are large; one with
the budget of the machine reads the largest bodies of each kind (``large_bodies``). A paced client
asks for digits, first alone, then during each attack. A name selects all attacks whose name
contains it. The output for each attack is the client's p99 in milliseconds, without and with the
attack, its failed requests, the peak of the server's resident memory, and the statuses that the
attackers received.
"""

import argparse
import gzip
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from shutil import copytree
from time import monotonic
from typing import NamedTuple

import numpy as np

from service.core.tensors import Array
from tests import tiny_models
from tests.benchmarks import large_bodies as largest_bodies
from tests.benchmarks.processes import memory
from tests.system.process import ROOT, running
from tests.system.wire import Line, chunked, post

BUDGET = 512 * 2**20
PEAK_TARGET_MB = 700.0
P99_TARGET_MS = 50.0
"""More than the quiet p99."""
RATE, CONNECTIONS = 100, 4
WIDTH = 5 * 2**20
"""Floats in the answer to one row: 20 MiB as raw bytes."""
LARGEST = 64 * 2**20
WIDE, SAME, BYTES = (f"/v2/models/{name}/infer" for name in ("wide", "same_fp32", "same_bytes"))
LENGTH = "Inference_Header_Content_Length"
Statuses = Counter[str]


Run = Callable[[int, float], Statuses]
"""Attacks a port until this time of ``monotonic``, and counts the statuses that it got."""


class Attack(NamedTuple):
    """An attack, in a separate process; ``prepare`` may take long.

    ``budget`` is the memory budget of the server in bytes, 0 for the machine's; ``statuses`` are
    the expected statuses, empty for any.
    """

    name: str
    prepare: Callable[[], Run]
    budget: int = BUDGET
    statuses: frozenset[str] = frozenset()


def wide(rows: int = 1, binary: bool = True, **more: object) -> bytes:
    x = {"name": "x", "datatype": "FP32", "shape": [rows, 1], "data": [0.5] * rows}
    body = {"inputs": [x], "parameters": {"binary_data_output": binary}, **more}
    return json.dumps(body).encode()


def largest(datatype: str = "FP32") -> tuple[bytes, int]:
    """Return a binary body of the largest size, and the length of its JSON part."""
    size = (LARGEST - 1024) // 4
    x: dict[str, object] = {"name": "x", "datatype": datatype, "shape": [1, size]}
    x["parameters"] = {"binary_data_size": 4 * size}
    rest = {"parameters": {"binary_data_output": True}}
    head = json.dumps({"inputs": [x], **rest}).encode()
    return head + bytes(4 * size), len(head)


def raw_post(datatype: str, path: str) -> bytes:
    body, length = largest(datatype)
    return post(path, body, **{LENGTH: str(length)})


def json_bodies() -> list[bytes]:
    """Return JSON of the largest size, of elements that are small as text."""
    head = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,%d],"data":['
    bodies = []
    for unit in UNITS:
        count = (LARGEST - 128) // len(unit)
        bodies.append(head % count + unit * (count - 1) + unit[:-1] + b"]}]}")
    return bodies


UNITS = (b'"",', b"[],", b"0.5,", b"7,")


def repeatedly(requests: Sequence[bytes], at_once: int) -> Run:
    """Send these requests in rotation over this many connections, until the time is over."""

    def run(port: int, until: float) -> Statuses:
        def attack(first: int) -> Statuses:
            counts, number = Statuses(), first
            while monotonic() < until:
                counts[asked(port, requests[number % len(requests)])] += 1
                number += 1
            return counts

        with ThreadPoolExecutor(at_once) as pool:
            return sum(pool.map(attack, range(at_once)), Statuses())

    return run


def asked(port: int, request: bytes) -> str:
    """Return the status of the answer, which may arrive before everything is sent."""
    with Line(port) as line:
        sender = threading.Thread(target=send, args=(line.socket, request), daemon=True)
        sender.start()
        try:
            return str(line.read().status)
        except (OSError, IndexError):
            return "cut"
        finally:
            with suppress(OSError):  # closing alone does not wake the sender
                line.socket.shutdown(socket.SHUT_RDWR)
            sender.join()


def send(line: socket.socket, request: bytes) -> None:
    with suppress(OSError):
        line.sendall(request)


def repeated_outputs() -> Run:
    """Request one output 150 times, plain and in 150 bytes of gzip; and large outputs."""
    many = wide(outputs=[{"name": "y"}] * 150)
    packed = post(WIDE, gzip.compress(many), Content_Encoding="gzip", Accept_Encoding="gzip")
    large = [post(WIDE, wide(rows)) for rows in (4, 60)]
    return repeatedly([packed, post(WIDE, many), *large], 4)


def large_bodies() -> Run:
    """Send sixteen bodies of 64 MiB at once, in each form."""
    plain = json_bodies()
    requests = [
        raw_post("FP32", SAME),
        raw_post("BYTES", BYTES),
        *(post(SAME, body) for body in plain),
        chunked(SAME, plain[1], 2**16),
        *(post(SAME, gzip.compress(body, 1), Content_Encoding="gzip") for body in plain),
    ]
    return repeatedly(requests, 16)


def unread_answers() -> Run:
    """See ``leave_unread``."""
    return leave_unread


def leave_unread(port: int, until: float) -> Statuses:
    """Open a hundred connections that request 20 MiB each and read nothing; repeat."""
    counts = Statuses()
    while monotonic() < until:
        lines = [Line(port) for _ in range(100)]
        for line in lines:
            send(line.socket, post(WIDE, wide()))
        threading.Event().wait(min(2.0, max(0.0, until - monotonic())))
        for line in lines:
            line.close()
        counts["unread"] += len(lines)
    return counts


def largest_body(name: str) -> Run:
    """Send one of the largest bodies, read or refused as a whole, sixteen times at once."""
    request = largest_bodies.request(largest_bodies.ATTACKS[name])
    return repeatedly([request], largest_bodies.AT_ONCE)


ATTACKS = (
    Attack("repeated outputs", repeated_outputs),
    Attack("large bodies", large_bodies),
    Attack("unread answers", unread_answers),
    *(
        Attack(name, partial(largest_body, name), 0, frozenset(map(str, each.statuses | {503})))
        for name, each in largest_bodies.ATTACKS.items()
    ),
)


class Result(NamedTuple):
    """The paced client's p99 in milliseconds and its failures; the attackers' statuses."""

    p99: float
    failed: int
    statuses: Mapping[str, int]


def measured(port: int, seconds: float, attacks: Sequence[Attack], folder: Path) -> Result:
    """Ask for digits while these attacks run concurrently."""
    context, lines = get_context("spawn"), []
    for attack in attacks:
        line, other = context.Pipe()
        context.Process(target=in_a_process, args=(attack, other), daemon=True).start()
        lines.append(line)
    for line in lines:
        assert line.recv() == "ready"
    for line in lines:
        line.send((port, monotonic() + seconds + 1))
    due, done, status = paced(port, seconds, folder).T
    statuses: Statuses = sum((line.recv() for line in lines), Statuses())
    p99 = 1000 * float(np.percentile(done - due, 99))
    return Result(p99, int((status != 200).sum()), statuses)


def in_a_process(attack: Attack, line: Connection) -> None:
    """Attack on a signal, at a lower priority than the server and the paced client: time that they
    lose to attackers on the same cores is not the server's fault."""
    os.nice(10)
    run = attack.prepare()
    line.send("ready")
    line.send(run(*line.recv()))


def paced(port: int, seconds: float, folder: Path) -> Array:
    """Return the due times, the end times and the statuses of the requests for digits."""
    out, digits = folder / "paced.npy", ROOT / "models/digits/example.json"
    command = [sys.executable, "-m", "tests.benchmarks.paced", "--port", str(port)]
    command += ["--path", "/v2/models/digits/infer", "--body", str(digits)]
    command += ["--rate", str(RATE), "--connections", str(CONNECTIONS)]
    command += ["--seconds", str(seconds), "--out", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=20 * seconds + 60)
    found: Array = np.load(out)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="what hostile clients cost everybody else")
    parser.add_argument("names", nargs="*", help="attacks, all when left out")
    parser.add_argument("--seconds", type=float, default=6.0)
    arguments = parser.parse_args()
    names = arguments.names or [""]
    chosen = [each for each in ATTACKS if any(name in each.name for name in names)]
    together = [each for each in chosen if each.budget]
    rounds = [[each] for each in chosen] + ([together] if len(together) > 1 else [])
    print(f"{'':26}  quiet p99  p99 under attack  failed  peak MB  attackers' statuses")
    missed = False
    for attacks in rounds:
        name = attacks[0].name if len(attacks) == 1 else "all within a budget"
        quiet, under, peak = attacked(attacks, arguments.seconds)
        missed |= misses(attacks[0], quiet, under, peak)
        told = ", ".join(f"{n} x {status}" for status, n in sorted(under.statuses.items()))
        figures = f"{quiet.p99:9.1f}  {under.p99:16.1f}  {under.failed:6}  {peak:7.0f}"
        print(f"{name:26}  {figures}  {told}", flush=True)
    print(f"targets: p99 {P99_TARGET_MS:g} ms more, {PEAK_TARGET_MB:g} MB within a budget, at most")
    return int(missed)


def misses(attack: Attack, quiet: Result, under: Result, peak: float) -> bool:
    """Return True if a target was missed."""
    surprising = attack.statuses and set(under.statuses) - attack.statuses
    large = attack.budget and peak > PEAK_TARGET_MB
    return under.p99 > quiet.p99 + P99_TARGET_MS or under.failed > 0 or bool(surprising or large)


def attacked(attacks: Sequence[Attack], seconds: float) -> tuple[Result, Result, float]:
    """Measure a new server without and with the attack; return also its peak memory in MB."""
    budget = attacks[0].budget
    flags = ("--memory-budget", str(budget), "--shutdown-timeout", "5")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        put = put_models if budget else largest_bodies.put_models
        put(folder / "models")
        with running(folder / "models", *flags) as server:
            quiet = measured(server.port, seconds / 2, (), folder)
            # What loading took does not count: the kernel forgets the peak so far.
            Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")
            under = measured(server.port, seconds, attacks, folder)
            return quiet, under, memory(server.process.pid).peak_mb


def put_models(models: Path) -> None:
    """Write the digit model, a model with large answers, and models that return their inputs."""
    copytree(ROOT / "models/digits", models / "digits")
    tiny_models.wide(models, WIDTH)
    alone = tiny_models.ONE_THREAD + "[batching]\nmax_batch_size = 1\n"
    (models / "wide/model.toml").write_text(alone)
    for datatype in ("FP32", "BYTES"):
        tiny_models.identity(models, datatype)


if __name__ == "__main__":
    sys.exit(main())
