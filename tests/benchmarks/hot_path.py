"""`python -m tests.benchmarks.hot_path BEFORE`: requests/s of this checkout to another's.

The tiny MLP, JSON, 32 clients; servers in turns, each with the Python of its own checkout's .venv.
The one that comes first changes with each round. Prints each round, the median and the spread.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from tests.benchmarks import models, protocol, servers, wrk
from tests.patience import until

CLIENTS = 32


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path, help="another checkout, installed in its .venv")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--duration", type=int, default=3, help="seconds of one run")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        served = models.prepare("tiny", Path(scratch))
        body = Path(scratch) / "body"
        feed = models.inputs(served.graph, 0)
        message = protocol.request(protocol.Protocol.JSON, feed, ())
        body.write_bytes(message.content)
        ratios = []
        for turn in range(given.rounds):
            sides = [given.before.resolve(), servers.ROOT]
            rates = {}
            for side in sides[:: 1 if turn % 2 else -1]:
                with serving(side, served.repository) as port:
                    load = wrk.Load(f"http://127.0.0.1:{port}/v2/models/tiny/infer", body, message)
                    wrk.run(load, CLIENTS, 1)
                    found = wrk.run(load, CLIENTS, given.duration)
                    rates[side] = found.requests / found.seconds
            before, after = (rates[side] for side in sides)
            ratios.append(after / before)
            print(f"round {turn + 1}: {before:7.0f} before, {after:7.0f} after, {ratios[-1]:.3f}")
    print(f"after : before {median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")
    return 0


@contextmanager
def serving(checkout: Path, repository: Path) -> Iterator[int]:
    """A server of a checkout; gives its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    command = [str(checkout / ".venv/bin/python"), "-m", "service", "serve"]
    command += ["--models", str(repository), "--port", str(port), "--log-level", "error"]
    process = subprocess.Popen(
        command, cwd=checkout, env={**os.environ, "QUANTSERVE_ADMIN_KEY": servers.ADMIN_KEY},
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(lambda: servers.is_ready(port, "tiny"))
        yield port
    finally:
        process.terminate()
        process.wait(60)


if __name__ == "__main__":
    sys.exit(main())
