"""`python -m tests.benchmarks.long_run`: growth of a server's resources under mixed load.

Predictions in JSON, binary and V1, bad requests, clients that disconnect, clients that read
nothing, and swaps, for the given time. Memory, descriptors and threads are read every second. The
last quarter is compared with the second one, because the first one fills caches. No good request
may fail.
"""

import argparse
import json
import shutil
import socket
import struct
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from time import monotonic
from typing import NamedTuple

from service.commands.line_plot import Line as Curve
from service.commands.line_plot import svg
from tests.system.process import KEY, ROOT, Running, running
from tests.system.wire import Line, chunked, get, post

PATH = "/v2/models/digits/infer"
GROWTH_MB, GROWTH_SHARE = 4.0, 0.03
"""Of resident memory that is taken for noise, whichever is more."""
GROWTH_FILES = GROWTH_THREADS = 3
SWAP_EVERY, LOOK_EVERY = 2.0, 1.0
PATIENCE = 30.0


class Sample(NamedTuple):
    """Seconds since the start; resident megabytes, descriptors and threads of the server."""

    at: float
    megabytes: float
    files: int
    threads: int


class Load:
    """The answers that clients received, by kind of request and status."""

    def __init__(self, server: Running) -> None:
        self.server = server
        self.over = threading.Event()
        self.seen: Counter[tuple[str, int]] = Counter()
        self._lock = threading.Lock()

    def count(self, kind: str, status: int) -> None:
        """Count an answer; status 0 means a broken connection."""
        with self._lock:
            self.seen[kind, status] += 1

    def asking(self, kind: str, request: bytes, each: int) -> Callable[[], None]:
        """Return a client that sends ``each`` requests over every connection."""

        def client() -> None:
            while not self.over.is_set():
                try:
                    with self.server.line() as line:
                        for _ in range(each):
                            self.count(kind, line.ask(request).status)
                except (OSError, IndexError, ValueError):
                    self.count(kind, 0)

        return client

    def leaving(self, request: bytes) -> Callable[[], None]:
        """Return a client that disconnects in the middle of its request, or before the answer."""

        def client() -> None:
            place = 0
            while not self.over.wait(0.01):
                place = (place + 97) % len(request)
                with suppress(OSError), self.server.line() as line:
                    line.socket.sendall(request[: place or None])
                    linger = struct.pack("ii", 1, 0)
                    line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

        return client

    def silent(self) -> None:
        """Request large answers repeatedly, and read nothing for a while."""
        while not self.over.is_set():
            with suppress(OSError), self.server.line() as line:
                line.socket.settimeout(0.2)
                with suppress(TimeoutError):
                    line.socket.sendall(get("/openapi.json") * 200)
                self.over.wait(1.0)

    def swapping(self) -> None:
        """Swap from one version to the other and back."""
        version = 1
        while not self.over.wait(SWAP_EVERY):
            body = json.dumps({"version": version}).encode()
            request = post("/admin/models/digits/swap", body, **{"X-API-Key": KEY})
            with suppress(OSError), Line(self.server.port) as line:
                line.socket.settimeout(PATIENCE)
                self.count("swap", line.ask(request).status)
            version = 3 - version


def main() -> int:
    """Run, print, and return whether anything grew or failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--plot", type=Path, help="an SVG file for the curve of memory")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "models", Path(folder) / "models")
        with running(Path(folder) / "models") as server:
            load = Load(server)
            samples = _run(load, arguments.minutes * 60)
    if arguments.plot:
        curve = Curve("server", [sample.megabytes for sample in samples])
        arguments.plot.write_text(svg("under mixed load", "seconds", "resident MB", [curve]))
    return 0 if _told(load.seen, samples) else 1


def _run(load: Load, seconds: float) -> list[Sample]:
    values = [round(0.01 * (i % 90), 2) for i in range(784)]
    image = {"name": "image", "datatype": "FP32", "shape": [1, 1, 28, 28], "data": values}
    good = json.dumps({"inputs": [image]}).encode()
    raw = struct.pack("<784f", *values)
    described = {**image, "parameters": {"binary_data_size": len(raw)}}
    del described["data"]
    head = json.dumps({"inputs": [described]}).encode()
    length = {"Inference_Header_Content_Length": str(len(head))}
    binary = post(PATH, head + raw, **length)
    rows = [values[at : at + 28] for at in range(0, 784, 28)]
    v1 = post("/v1/models/digits:predict", json.dumps({"instances": [[rows]]}).encode())
    clients = [
        load.asking("JSON", post(PATH, good), 200),
        load.asking("binary", binary, 200),
        load.asking("V1", v1, 20),
        load.asking("chunked", chunked(PATH, good, size=500, Accept_Encoding="gzip"), 20),
        load.asking("metrics", get("/metrics"), 5),
        load.asking("not JSON", post(PATH, good[:-2]), 20),
        load.asking("no such model", post("/v2/models/nobody/infer", good), 20),
        load.asking("no HTTP", b"\0\r\n\r\n", 1),
        load.leaving(post(PATH, good)),
        load.leaving(binary),
        load.silent,
        load.swapping,
    ]
    threads = [threading.Thread(target=client) for client in clients]
    for thread in threads:
        thread.start()
    samples, began = [], monotonic()
    while monotonic() - began < seconds:
        load.over.wait(LOOK_EVERY)
        samples.append(_sample(load.server, monotonic() - began))
    load.over.set()
    for thread in threads:
        thread.join()
    return samples


def _sample(server: Running, at: float) -> Sample:
    process = Path(f"/proc/{server.process.pid}")
    files, threads = (len(list((process / each).iterdir())) for each in ("fd", "task"))
    return Sample(at, server.resident_bytes() / 2**20, files, threads)


def _told(seen: Counter[tuple[str, int]], samples: list[Sample]) -> bool:
    for (kind, status), count in sorted(seen.items()):
        print(f"{kind:14} {status or 'broken'}: {count}")
    good = ("JSON", "binary", "V1", "chunked", "metrics", "swap")
    failed = sum(n for (kind, status), n in seen.items() if kind in good and status != 200)
    print(f"good requests that failed: {failed}")
    quarter = len(samples) // 4
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]
    met = not failed
    limits = {"files": GROWTH_FILES, "threads": GROWTH_THREADS}
    for name in ("megabytes", "files", "threads"):
        before, after = (median(getattr(each, name) for each in part) for part in (early, late))
        limit = limits.get(name, max(GROWTH_MB, GROWTH_SHARE * before))
        most = max(getattr(each, name) for each in samples)
        print(
            f"{name}: {before:.1f} in the second quarter, {after:.1f} in the last, at most {most}"
        )
        met &= after - before <= limit
    return met


if __name__ == "__main__":
    raise SystemExit(main())
