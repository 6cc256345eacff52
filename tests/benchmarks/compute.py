"""The compute limit: rows/s of bare `session.run` calls, in a separate process.

The sessions are those of a competent user: ONNX Runtime's defaults, or what is faster. A model that
batches runs at its best batch size and thread count; one that does not runs row by row, one row on
all cores, or as many as there are cores side by side.
The worker loads once and then measures whenever a line with a duration comes in.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from service.engine.cpu.kernels import Kernels, kernels_for
from service.engine.onnx_file.snapshot import ModelFile
from tests.benchmarks.models import Served, inputs
from tests.benchmarks.protocol import Tensors
from tests.benchmarks.servers import ROOT, ServerError

BATCHES = (1, 2, 4, 8, 16, 32, 64)
PROBE = 0.2
CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class Setting:
    """The settings with the most rows/s, and the time of a single row."""

    batch: int
    intra_op_threads: int
    callers: int
    spinning: bool
    single_row_ms: float

    def __str__(self) -> str:
        waits = ", spinning" if self.spinning and self.intra_op_threads > 1 else ""
        return (
            f"batch {self.batch}, {self.callers} caller(s) x {self.intra_op_threads} thread(s)"
            f"{waits}; a lone row takes {self.single_row_ms:.3f} ms"
        )


class Compute:
    """The parent's end of the worker."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.setting = Setting(**self._reply())  # type: ignore[arg-type]

    def rows_per_second(self, seconds: float) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        return self._reply()["rows_per_second"]

    def _reply(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ServerError(f"the compute worker died with {self._process.wait()}")
        reply: dict[str, float] = json.loads(line)
        return reply


@contextmanager
def computing(served: Served) -> Iterator[Compute]:
    mode = "batch" if served.batches else "rows"
    command = [sys.executable, "-m", "tests.benchmarks.compute", mode, str(served.graph)]
    process = subprocess.Popen(
        command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield Compute(process)
    finally:
        process.terminate()
        process.communicate()


def load(
    graph: Path, threads: int, spinning: bool = True, kernels: Kernels | None = None
) -> onnxruntime.InferenceSession:
    """Create a session with ONNX Runtime's defaults and this many threads. It uses the default
    kernels too, except for a file for which they are wrong on this machine, unless `kernels` is
    given."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if not spinning:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    kernels_for(ModelFile(graph), kernels).apply(options)
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def rate(run: Callable[[], object], rows: int, callers: int, seconds: float) -> float:
    """Return the rows/s of `run`, called in a loop by each of `callers` threads."""
    start = time.perf_counter()
    counts = [0] * callers

    def loop(caller: int) -> None:
        while time.perf_counter() - start < seconds:
            run()
            counts[caller] += rows

    threads = [threading.Thread(target=loop, args=(caller,)) for caller in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - start)


def best(graph: Path, row: Tensors, batches: bool) -> Setting:
    """Try batch sizes, threads, callers, and both ways in which threads wait for work."""
    single = load(graph, 1)
    single.run(None, row)
    lone = 1000 / rate(lambda: single.run(None, row), 1, 1, PROBE)
    sizes = BATCHES if batches else (1,)
    ways = [(1, 1 if batches else CORES, True), (CORES, 1, True), (CORES, 1, False)]
    rates: dict[Setting, float] = {}
    for threads, callers, spinning in ways[: 1 if CORES == 1 else None]:
        session = load(graph, threads, spinning)
        for batch in sizes:
            setting = Setting(batch, threads, callers, spinning, lone)
            rates[setting] = _probe(session, repeated(row, batch), setting)
    return max(rates, key=lambda setting: rates[setting])


def repeated(row: Tensors, batch: int) -> Tensors:
    return {name: np.repeat(array, batch, axis=0) for name, array in row.items()}


def _probe(session: onnxruntime.InferenceSession, feed: Tensors, setting: Setting) -> float:
    session.run(None, feed)
    return rate(lambda: session.run(None, feed), setting.batch, setting.callers, PROBE)


def _work(mode: str, graph: Path) -> None:
    row = inputs(graph, seed=0)
    setting = best(graph, row, batches=mode == "batch")
    session = load(graph, setting.intra_op_threads, setting.spinning)
    feed = repeated(row, setting.batch)
    print(json.dumps(asdict(setting)), flush=True)
    for line in sys.stdin:
        rows = rate(lambda: session.run(None, feed), setting.batch, setting.callers, float(line))
        print(json.dumps({"rows_per_second": rows}), flush=True)


if __name__ == "__main__":
    _work(sys.argv[1], Path(sys.argv[2]))
