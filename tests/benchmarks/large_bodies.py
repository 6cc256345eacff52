"""`python -m tests.benchmarks.large_bodies`: the cost of the largest bodies for other clients.

Sixteen connections send the body repeatedly for some seconds, while a constant stream asks the
shipped digit model; its p99 is compared with that of a quiet time just before. The target is 50 ms
more. The attackers run at a lower priority (nice), because they are not part of the server. The
same attacks are part of `python -m tests.benchmarks.attacks`, each against a server of its own.
"""

import argparse
import gzip
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import numpy as np

from service.core.sizes import MAX_JSON_VALUES, MAX_STRINGS, MAX_TEXT
from tests.benchmarks.processes import tree
from tests.engine.graphs import constant, model, node, save, value
from tests.system.process import ROOT, running
from tests.tiny_models import identity

TARGET_MS = 50.0
AT_ONCE = 16
LIMIT = 64 * 2**20
RATE = 200
COUNT = MAX_JSON_VALUES - 100
FP32, BYTES, GRID, WIDE = (
    f"/v2/models/{m}/infer" for m in ("same_fp32", "same_bytes", "grid", "wide")
)
V1_GRID = "/v1/models/grid:predict"


class Attack(NamedTuple):
    """A request, and the possible statuses of its answer."""

    path: str
    body: Callable[[], bytes]
    statuses: frozenset[int] = frozenset({200})
    headers: str = ""


def tensor(datatype: str, token: str, count: int) -> bytes:
    """Return a v2 body that contains the token this many times."""
    head = {"name": "x", "datatype": datatype, "shape": [1, count], "data": 0}
    text = json.dumps({"inputs": [head]}).removesuffix("0}]}")
    return f"{text}[{','.join([token] * count)}]}}]}}".encode()


def binary(datatype: str, data: bytes, count: int, json_answer: bool = False) -> bytes:
    head = {"name": "x", "datatype": datatype, "shape": [1, count]}
    size = {"parameters": {"binary_data_size": len(data)}}
    wanted = {"parameters": {"binary_data_output": not json_answer}}
    text = json.dumps({"inputs": [head | size], **wanted}).ljust(256)
    return text.encode() + data


def instances(item: str, count: int) -> bytes:
    return f'{{"instances": [[{",".join([item] * count)}]]}}'.encode()


def words(count: int, size: int) -> bytes:
    return (size.to_bytes(4, "little") + b"a" * size) * count


RAW = "Inference-Header-Content-Length: 256\r\n"
GZIP = "Content-Encoding: gzip\r\n"
BAD = frozenset({400})
ATTACKS = {
    "JSON floats, 64 MiB": Attack(FP32, lambda: tensor("FP32", "0.1234567890123", COUNT)),
    "JSON floats, the most": Attack(FP32, lambda: tensor("FP32", "0.5", COUNT)),
    "JSON integers for floats": Attack(FP32, lambda: tensor("FP32", "7", COUNT)),
    "NaN, the most": Attack(FP32, lambda: tensor("FP32", "NaN", COUNT)),
    "NaN, 64 MiB": Attack(FP32, lambda: tensor("FP32", "NaN", LIMIT // 4 - 99), BAD),
    "one NaN in 64 MiB": Attack(
        FP32,
        lambda: tensor("FP32", "0.1234567890123", COUNT).replace(b"0.1234567890123", b"NaN", 1),
    ),
    "strings in JSON, the most": Attack(BYTES, lambda: tensor("BYTES", '""', MAX_STRINGS)),
    "strings in JSON, 4 MiB": Attack(BYTES, lambda: tensor("BYTES", f'"{"a" * 59}"', MAX_STRINGS)),
    "empty strings, 64 MiB": Attack(BYTES, lambda: tensor("BYTES", '""', LIMIT // 3 - 99), BAD),
    "nested V1 lists, the most": Attack(V1_GRID, lambda: instances("[1]", COUNT // 4 - 9)),
    "nested V1 lists, 64 MiB": Attack(V1_GRID, lambda: instances("[1]", LIMIT // 4 - 99), BAD),
    "gzip of {}": Attack(
        V1_GRID, lambda: gzip.compress(instances("{}", LIMIT // 3 - 99), 1), BAD, GZIP
    ),
    "gzip of blanks": Attack(
        FP32, lambda: gzip.compress(b" " * (LIMIT - 99) + b"{}", 1), BAD, GZIP
    ),
    "gzip of floats": Attack(
        FP32, lambda: gzip.compress(tensor("FP32", "0.1234567890123", COUNT), 1), headers=GZIP
    ),
    "binary FP32, 64 MiB": Attack(
        FP32, lambda: binary("FP32", bytes(LIMIT - 256), LIMIT // 4 - 64), headers=RAW
    ),
    "binary BYTES, the most": Attack(
        BYTES, lambda: binary("BYTES", words(MAX_STRINGS, 60), MAX_STRINGS), headers=RAW
    ),
    "binary BYTES, one text": Attack(
        BYTES, lambda: binary("BYTES", words(1, MAX_TEXT), 1), headers=RAW
    ),
    "binary BYTES, 64 MiB": Attack(
        BYTES, lambda: binary("BYTES", bytes(LIMIT - 256), LIMIT // 4 - 64), BAD, RAW
    ),
    "large JSON answers": Attack(WIDE, lambda: tensor("FP32", "0.1234567", 1)),
    "large JSON answers, V1": Attack("/v1/models/wide:predict", lambda: b'{"instances": [[0.1]]}'),
    "classes": Attack(
        WIDE,
        lambda: (
            b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":[1]}],'
            b'"outputs":[{"name":"y","parameters":{"classification":%d}}]}' % MAX_STRINGS
        ),
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.large_bodies")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each attack; default 8")
    parser.add_argument("--only", default="", help="attacks whose names hold this")
    parser.add_argument(
        "--check", action="store_true", help="exit with 1 when the target is missed"
    )
    arguments = parser.parse_args()
    missed = 0
    print("| attack | answers | quiet p99, ms | p99, ms | worst, ms | memory, MB |")
    print("|---|---|---|---|---|---|")
    with served() as (port, pid):
        for name, attack in ATTACKS.items():
            if arguments.only in name:
                missed += not measure(name, attack, port, pid, arguments.seconds)
    return 1 if missed and arguments.check else 0


@contextmanager
def served() -> Iterator[tuple[int, int]]:
    """Start a server with the digit model and the attacked models; yield its port and process."""
    with tempfile.TemporaryDirectory() as folder:
        put_models(Path(folder))
        with running(Path(folder)) as server:
            yield server.port, server.process.pid


def put_models(models: Path) -> None:
    """Write the digit model and the attacked models."""
    shutil.copytree(ROOT / "models/digits", models / "digits")
    for datatype in ("FP32", "BYTES"):
        identity(models, datatype)
    x, y = (value(name, ["batch", "n", 1]) for name in "xy")
    save(model([node("Identity", "x", to="y")], [x], [y]), models / "grid")
    repeats = constant("repeats", [1, 4_000_000], "int64")
    tile = node("Tile", "x", "repeats", to="y")
    x, y = value("x", ["batch", 1]), value("y", ["batch", 4_000_000])
    save(model([tile], [x], [y], [repeats]), models / "wide")


def request(attack: Attack) -> bytes:
    """Return the bytes to send."""
    body = attack.body()
    head = f"POST {attack.path} HTTP/1.1\r\nHost: x\r\n{attack.headers}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def measure(name: str, attack: Attack, port: int, pid: int, seconds: float) -> bool:
    """Print one line of the table; return True if the target was met."""
    quiet = p99(others(port, seconds / 2))
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(request(attack))
        flood = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.large_bodies", "flood"]
            + [str(port), file.name, str(seconds)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        times = others(port, seconds)
        told, _ = flood.communicate()
    statuses = Counter(json.loads(told))
    memory = sum(peak(each) for each in tree(pid))
    shown = ", ".join(f"{count} x {status}" for status, count in statuses.items())
    during = p99(times)
    print(
        f"| {name} | {shown} | {quiet:.1f} | {during:.1f} | {times.max() * 1e3:.1f}"
        f" | {memory:.0f} |",
        flush=True,
    )
    return during <= quiet + TARGET_MS and set(statuses) <= attack.statuses | {503}


def p99(times: np.ndarray) -> float:
    return float(np.percentile(times, 99)) * 1e3


def others(port: int, seconds: float) -> np.ndarray:
    """Return the latencies of the requests for digits in seconds, from their due times."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "times.npy"
        command = [sys.executable, "-m", "tests.benchmarks.paced", "--port", str(port)]
        command += ["--path", "/v2/models/digits/infer", "--rate", str(RATE)]
        command += ["--body", str(ROOT / "models/digits/example.json")]
        command += ["--seconds", str(seconds), "--out", str(out)]
        subprocess.run(command, check=True, cwd=ROOT)
        rows = np.load(out)
    assert set(rows[:, 2]) == {200}, "a request of the others failed"
    times: np.ndarray = rows[:, 1] - rows[:, 0]
    return times


def peak(pid: int) -> float:
    """Return the peak resident memory of a process in megabytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def flood(port: int, request: bytes, seconds: float) -> list[int]:
    """Send a request repeatedly over this many connections at once; return the statuses."""
    until = monotonic() + seconds
    with ThreadPoolExecutor(AT_ONCE) as threads:
        parts = threads.map(lambda _: list(_repeated(port, request, until)), range(AT_ONCE))
        return [status for part in parts for status in part]


def _repeated(port: int, request: bytes, until: float) -> Iterator[int]:
    while monotonic() < until:
        with socket.create_connection(("127.0.0.1", port)) as line, line.makefile("rb") as answer:
            line.sendall(request)
            status = int(answer.readline().split()[1])
            left = 0
            while (header := answer.readline().strip().lower()) != b"":
                name, _, text = header.partition(b":")
                left = int(text) if name == b"content-length" else left
            while left > 0:
                left -= len(answer.read(min(left, 2**20)))
        yield status


if __name__ == "__main__":
    if sys.argv[1:2] == ["flood"]:
        os.nice(10)
        print(
            json.dumps(flood(int(sys.argv[2]), Path(sys.argv[3]).read_bytes(), float(sys.argv[4])))
        )
        sys.exit(0)
    sys.exit(main())
