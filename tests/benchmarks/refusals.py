"""`python -m tests.benchmarks.refusals`: the time until bad requests are refused.

One client on one connection asks the shipped digit model; the target is 10 ms.
"""

import http.client
import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

from tests.benchmarks.servers import ROOT, Launch, serving

TARGET_MS = 10.0
TIMES = 300
EXAMPLE = json.loads((ROOT / "models/digits/example.json").read_text())


def changed(**changes: object) -> bytes:
    """Return the example with other values in its input."""
    return json.dumps({"inputs": [EXAMPLE["inputs"][0] | changes]}).encode()


CASES = {
    "not JSON": b"{",
    "deep nesting": b"[" * 100_000,
    "unknown input": changed(name="x"),
    "wrong datatype": changed(datatype="INT8"),
    "huge shape": changed(shape=[2**40, 2**40]),
    "a value too few": changed(data=[0.0] * 783),
    "a string among numbers": changed(data=[0.0] * 783 + ["1"]),
    "a number past FP32": changed(data=[0.0] * 783 + [1e300]),
    "too many rows": changed(shape=[100, 1, 28, 28], data=[0.0] * 78_400),
}


def times(port: int, body: bytes) -> list[float]:
    """Return the milliseconds of each refusal."""
    connection, taken = http.client.HTTPConnection("127.0.0.1", port, timeout=10), []
    for _ in range(TIMES):
        started = perf_counter()
        connection.request("POST", "/v2/models/digits/infer", body)
        reply = connection.getresponse()
        text = reply.read()
        taken.append(1000 * (perf_counter() - started))
        if reply.status != 400 or b'"error"' not in text:
            raise SystemExit(f"answered {reply.status}: {text[:200]!r}")
    connection.close()
    return sorted(taken)


def main() -> int:
    launch = Launch("quantserve", "digits", "service", ("serve", "--models", "models"))
    slowest = 0.0
    with tempfile.TemporaryDirectory() as logs, serving(launch, Path(logs)) as server:
        print(f"{'':26}  p50 ms  p99 ms   bytes")
        for name, body in CASES.items():
            taken = times(server.port, body)
            p99 = taken[int(0.99 * len(taken))]
            slowest = max(slowest, p99)
            print(f"{name:26}  {median(taken):6.2f}  {p99:6.2f}  {len(body):6}")
    print(f"slowest p99: {slowest:.2f} ms (target: under {TARGET_MS:g})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
