"""Measures models: integer and float kernels, the time of a batch, and the size of a file."""

import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime as ort

from service.engine.cpu.kernels import kernels_for
from service.engine.onnx_file.snapshot import ModelFile

Feeds = dict[str, np.ndarray]

INTEGER = {
    "QLinearConv",
    "QGemm",
    "QLinearMatMul",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
    "QAttention",
}
FLOAT = {"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "Attention"}


def session(path: Path, threads: int = 1, optimized: Path | None = None) -> ort.InferenceSession:
    """Return a CPU inference session with the kernels of serving. If `optimized` is given, the
    optimised graph is written to it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    kernels_for(ModelFile(path)).apply(options)
    if optimized:
        options.optimized_model_filepath = str(optimized)
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def answer(path: Path, feeds: Feeds) -> np.ndarray:
    """Return the model's first output."""
    first: np.ndarray = session(path).run(None, feeds)[0]
    return first


def kernels(path: Path) -> tuple[int, int]:
    """Return how many matrix products run in integers, and how many in float, after
    optimisation."""
    with TemporaryDirectory() as folder:
        optimized = Path(folder, "optimized.onnx")
        session(path, optimized=optimized)
        counts = Counter(node.op_type for node in onnx.load(optimized).graph.node)
    return sum(counts[op] for op in INTEGER), sum(counts[op] for op in FLOAT)


def milliseconds(paths: list[Path], feeds: Feeds, rounds: int = 300) -> list[float]:
    """Return the median time of one run of each model on one thread. The models run alternately, so
    that disturbances affect all of them."""
    sessions = [session(path) for path in paths]
    seconds: list[list[float]] = [[] for _ in paths]
    for turn in range(rounds):
        for one, taken in zip(sessions, seconds, strict=True):
            start = time.perf_counter()
            one.run(None, feeds)
            if turn >= rounds // 10:  # the first tenth is warm-up
                taken.append(time.perf_counter() - start)
    return [float(np.median(taken)) * 1000 for taken in seconds]


def kilobytes(path: Path) -> float:
    """Return the size of the file in kB (1,000 bytes)."""
    return path.stat().st_size / 1000


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return rows of text as an aligned table."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
