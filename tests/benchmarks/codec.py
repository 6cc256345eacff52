"""`python -m tests.benchmarks.codec BEFORE`: JSON to tensors and back, against another checkout.

Both run alternately; below 1, this checkout is faster. Then the time for 64 MiB of NaN only.
"""

import subprocess
import sys
from pathlib import Path
from statistics import median
from time import process_time

ROUNDS = 60
SIZES = (4, 100, 1_000, 100_000)
WORK = """
import json, sys, time
import numpy as np
from service.api.protocol import codec
from service.core.requests import InferResponse
from service.core.tensors import DATATYPES, Tensor
for line in sys.stdin:
    verb, size = line.split()
    values = np.random.default_rng(0).standard_normal((1, int(size))).astype("f4")
    answer = InferResponse("m", 1, (Tensor("x", DATATYPES["FP32"], values),))
    tensor = {"name": "x", "datatype": "FP32", "shape": values.shape, "data": values[0].tolist()}
    body = json.dumps({"inputs": [tensor]}).encode()
    work = (lambda: codec.encode(answer, [False])) if verb == "encode" else (
        lambda: codec.decode(body))
    times = max(3, 40_000 // (10 + int(size)))
    work()
    started = time.process_time()
    for _ in range(times):
        work()
    print((time.process_time() - started) / times, flush=True)
"""


def main() -> int:
    here, before = Path(__file__).parents[2], Path(sys.argv[1])
    command, pipe = [sys.executable, "-c", WORK], subprocess.PIPE
    sides = [
        subprocess.Popen(command, cwd=folder, stdin=pipe, stdout=pipe, text=True)
        for folder in (before, here)
    ]
    print(f"{'':16}  us before   after : before")
    for verb in ("decode", "encode"):
        for size in SIZES:
            pairs = [measured(sides, f"{verb} {size}", turn) for turn in range(ROUNDS)]
            ratio = median(after / old for old, after in pairs)
            print(f"{verb} {size:9}  {1e6 * median(p[0] for p in pairs):9.2f}  {ratio:15.3f}")
    for side in sides:
        side.communicate()
    large("1.5")
    large("NaN")
    return 0


def measured(sides: list[subprocess.Popen[str]], order: str, turn: int) -> list[float]:
    """Return the seconds of a call before and after; in every other round the second runs first."""
    found = {}
    for side in sides[:: 1 if turn % 2 else -1]:
        assert side.stdin and side.stdout
        print(order, file=side.stdin, flush=True)
        found[side.pid] = float(side.stdout.readline())
    return [found[side.pid] for side in sides]


def large(value: str) -> None:
    """Return the seconds for a body of 64 MiB."""
    from service.api.protocol.codec import decode

    count = 2**24 - 64
    data = f"{value}," * (count - 1) + value
    body = f'{{"inputs":[{{"name":"x","datatype":"FP32","shape":[{count}],"data":[{data}]}}]}}'
    started = process_time()
    decode(body.encode())
    print(f"64 MiB of {value}: {process_time() - started:.1f} s of one core")


if __name__ == "__main__":
    sys.exit(main())
