"""Runs ``quantserve quantize`` on real models and prints the results and the targets.

    python -m tests.benchmarks.quantize [--cache FOLDER] [--only NAME ...]

Ratios are to FP32 in the same run. A separate line compares these times with ONNX Runtime's
defaults (threads that wait without spinning, see ``kernels``). Targets of speed were set on a CPU
with AVX512-VNNI. The kernels of this machine are timed first, so that a missed target can be
distinguished from a limit of the hardware.
See ``quantize_cases`` for the packages that it needs.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from service.quantization.evaluate.kernel_speeds import hardware, hardware_text
from service.quantization.pipeline import QuantizeOptions, carry_out
from service.quantization.search.decide import SLOWEST
from tests.benchmarks import kernels, per_row
from tests.benchmarks import quantize_cases as cases
from tests.benchmarks.kernels import compare
from tests.benchmarks.line import Line

Report = dict[str, Any]
SECONDS = 2.0
"""For a comparison with ONNX Runtime's defaults."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One case and its targets."""

    case: Callable[[Path], cases.Case]
    wishes: dict[str, Any]
    lines: Callable[[Report], Iterator[Line]]
    compare: Callable[[Path, Path, Path], Iterator[Line]] | None = None
    """Lines from the FP32 file, the published one and the rows."""


def winner(report: Report) -> Report:
    """The published row; that of FP32 if FP32 stays."""
    name = report["decision"]["winner"]
    rows = (row for row in report["candidates"] if row["name"] == name)
    return next(rows, report["reference"])


def smaller(report: Report, row: Report) -> float:
    """The size of the FP32 file relative to this file."""
    return float(report["reference"]["file_bytes"] / row["file_bytes"])


def digits(report: Report) -> Iterator[Line]:
    """The digit classifier's targets."""
    row = winner(report)
    yield Line("times smaller", 3, smaller(report, row))
    yield Line(
        "times FP32's rows/s, each at its best batch", 1.5, row["timing"]["throughput_ratio"]
    )
    yield Line("drop of accuracy, points", 0.2, 100 * _drop(row), least=False)
    yield Line("seconds for the search", 120, report["search_seconds"], least=False)


def sentences(report: Report) -> Iterator[Line]:
    """The sentence encoder's targets."""
    row = winner(report)
    yield Line("times smaller", 3.5, smaller(report, row))
    yield Line("times FP32's speed at batch 1", 2, row["timing"]["latency_ratio"])
    yield Line("mean cosine to FP32", 0.99, row["quality"]["score"])
    yield Line("seconds for the search", 900, report["search_seconds"], least=False)


def close(report: Report) -> Iterator[Line]:
    """The targets of a sentence encoder whose answers hardly change."""
    row = winner(report)
    yield Line("mean cosine to FP32", 0.999, row["quality"]["score"])
    yield Line("times smaller", 1.1, smaller(report, row))
    yield Line("times FP32's speed at batch 1", SLOWEST, row["timing"]["latency_ratio"])


def images(report: Report) -> Iterator[Line]:
    """The convolutional network's targets."""
    row = winner(report)
    yield Line("times FP32's speed at batch 1", 2.2, row["timing"]["latency_ratio"])
    chosen, other = report["data"]["evaluation_rows"], report["data"]["confirmation_rows"]
    confirmation = report["confirmation"] or row["quality"]
    hits = chosen * row["quality"]["score"] + other * confirmation["score"]
    yield Line("top-1 agreement with FP32, all crops", 0.9, hits / (chosen + other))
    yield Line("crops, of which a quarter are test rows", 200, chosen + other)


def files(report: Report) -> Iterator[Line]:
    """The targets of a model that static quantization breaks: a valid winner, and reasons."""
    yield from _rescued(report, 3)


def lines(report: Report) -> Iterator[Line]:
    """The targets of another such model, which is scored by its own metric."""
    yield from _rescued(report, 2)


def _rescued(report: Report, points: float) -> Iterator[Line]:
    row, goal = winner(report), report["goal"]
    wrong = sum(
        bool(c.get("quality")) and _drop(c) > goal["max_drop"] for c in report["candidates"]
    )
    yield Line("candidates that answer too differently", 1, wrong)
    yield Line("drop of what is published, points", points, 100 * _drop(row), least=False)
    yield Line("its speed at batch 1", 1, row["timing"]["latency_ratio"])


def _drop(row: Report) -> float:
    quality = row["quality"]
    return 1.0 if quality["failure"] else max(0.0, quality["reference"] - quality["score"])


BESIDE: dict[str, Callable[[Path], Iterator[Line]]] = {
    "forms": per_row.forms,
    "recommender": per_row.recommender,
}
"""Benchmarks without a search."""
BENCHMARKS = {
    "digits": Benchmark(cases.digits, {"target": "throughput", "max_drop": 0.002}, digits),
    "sentences": Benchmark(
        cases.sentences, {"max_drop": 0.01, "allow_batch_variance": True}, sentences
    ),
    "sentences-close": Benchmark(cases.sentences, {"max_drop": 0.001, "target": "size"}, close),
    "images": Benchmark(cases.images, {"max_drop": 0.1}, images),
    "lines": Benchmark(
        cases.lines, {"max_drop": 0.02, "metric": "tests.benchmarks.text_lines:read_right"}, lines
    ),
    "files": Benchmark(cases.files, {"max_drop": 0.03}, files),
    "mlp": Benchmark(
        cases.mlp,
        {"target": "throughput", "metric": "cosine"},
        lambda report: iter(()),
        per_row.worst_row_and_speed,
    ),
}


def run(name: str, benchmark: Benchmark, cache: Path) -> None:
    """Search and print."""
    case = benchmark.case(cache)
    with tempfile.TemporaryDirectory(dir=cache) as models:
        options = QuantizeOptions(
            case.model, str(case.data), name=name, models=Path(models),
            calibration=str(case.calibration) if case.calibration else None, **benchmark.wishes,
        )  # fmt: skip
        table = carry_out(options)
        report: Report = json.loads(Path(models, name, "1", "report.json").read_text())
        beside = list(_beside_defaults(case.model, Path(models, name), report["threads"]))
        if benchmark.compare is not None:
            published = Path(models, name, "1/model.onnx")
            beside = [*benchmark.compare(case.model, published, case.data), *beside]
        for path in (f"{name}.json", f"{name}.html"):
            kept = Path(models, name, "1", f"report{Path(path).suffix}")
            (cache / path).write_bytes(kept.read_bytes())
    print(f"\n{name}: {json.dumps(benchmark.wishes)}\n{table.rpartition(chr(10))[0]}")
    for line in (*benchmark.lines(report), *beside):
        print(line)


def _beside_defaults(fp32: Path, home: Path, threads: int) -> Iterator[Line]:
    """Compare the times of FP32 and the winner with ONNX Runtime's defaults: not slower."""
    with np.load(home / "golden.npz") as golden:
        feed = {k.removeprefix("inputs/"): v[:1] for k, v in golden.items() if k[:7] == "inputs/"}
    for what, path in (("FP32", fp32), ("the published", home / "1" / "model.onnx")):
        row = compare(what, path, feed, threads, SECONDS)
        speed = row.ratio_without_spinning
        yield Line(f"speed of {what} here to ONNX Runtime's defaults", kernels.LEAST, speed)


def main() -> None:
    """Run the benchmarks that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir(), "quantize-bench"))
    names = [*BESIDE, *BENCHMARKS]
    parser.add_argument("--only", nargs="*", choices=names, default=names)
    flags = parser.parse_args()
    flags.cache.mkdir(parents=True, exist_ok=True)
    print(hardware_text(hardware()))
    for name in flags.only:
        if name in BESIDE:
            print(f"\n{name}:")
            for line in BESIDE[name](flags.cache):
                print(line, flush=True)
        else:
            run(name, BENCHMARKS[name], flags.cache)


if __name__ == "__main__":
    main()
