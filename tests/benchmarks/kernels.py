"""Checks that serving is as fast as ONNX Runtime's defaults: `Session.run` and
`InferenceSession.run` alternate, with the same number of threads.

    python -m tests.benchmarks.kernels [--check] [--seconds 3]

FP32, static INT8 and dynamic INT8 with all eight bits of the weights. Where the default kernels
saturate, their answers are wrong and faster than correct ones; the ratio is then no target.

With several threads, the defaults let threads spin while they wait. A server cannot afford this,
because they use the cores that decode requests. So these rows also compare with defaults that do
not spin.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from service.engine.cpu.kernels import saturates
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session
from tests.benchmarks import machine, models
from tests.benchmarks.compute import CORES, repeated
from tests.benchmarks.protocol import Tensors
from tests.benchmarks.servers import ROOT

EXAMPLE = ROOT / "scripts" / "examples" / "fp32"
BATCHES = (1, 16)
LEAST = 0.97
HEADS = (
    "file                     kernels  batch threads    ours us defaults us   ratio not spinning"
)
TURN = 0.004
"""Seconds of one side's runs before it is the other's turn."""


@dataclass(frozen=True, slots=True)
class Row:
    """One file at one size: seconds of a run, and the speed relative to the defaults, with and
    without spinning, as the median of the ratios of each round."""

    name: str
    kernels: str
    batch: int
    threads: int
    ours: float
    defaults: float
    ratio: float
    ratio_without_spinning: float

    @property
    def missed(self) -> bool:
        """True if serving is too slow, compared to defaults that wait in the same way."""
        return self.ratio_without_spinning < LEAST and not saturates()

    def __str__(self) -> str:
        return (
            f"{self.name:24} {self.kernels:8} {self.batch:5} {self.threads:7} "
            f"{1e6 * self.ours:10.1f} {1e6 * self.defaults:11.1f} {self.ratio:7.3f} "
            f"{self.ratio_without_spinning:16.3f}{f'   below {LEAST}' if self.missed else ''}"
        )


def compare(name: str, path: Path, feed: Tensors, threads: int, seconds: float) -> Row:
    """Time both ways of running a file alternately, for about this many seconds."""
    ours = Session(path, SessionOptions(threads))
    spinning, waiting = (defaults(path, threads, spins) for spins in (True, False))
    arrays = tuple(feed[spec.name] for spec in ours.signature.inputs)
    names = [spec.name for spec in ours.signature.outputs]
    calls = [
        lambda: ours.run(arrays),
        lambda: spinning.run(names, feed),
        lambda: waiting.run(names, feed),
    ]
    taken = in_turns(calls if threads > 1 else calls[:2], seconds)
    ratios = np.median(taken[:, 1:] / taken[:, :1], axis=0)
    mine, default = np.median(taken, axis=0)[:2]
    return Row(
        name, ours.kernels, len(arrays[0]), threads, mine, default, ratios[0], ratios[-1]
    )  # fmt: skip


def defaults(path: Path, threads: int, spinning: bool) -> onnxruntime.InferenceSession:
    """Create a session with ONNX Runtime's defaults; with ``spinning``, idle threads may spin."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if not spinning:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def in_turns(
    calls: Sequence[Callable[[], object]], seconds: float, turn: float = TURN
) -> np.ndarray:
    """Return the seconds of one run, by round and call; every other round is in reverse order.
    ``turn`` is the seconds per call in each round."""
    rounds: list[list[float]] = []
    started = perf_counter()
    while len(rounds) < 10 or perf_counter() - started < seconds:
        order = list(enumerate(calls))
        if len(rounds) % 2:
            order.reverse()
        taken = {place: _turn(call, turn) for place, call in order}
        rounds.append([taken[place] for place in range(len(calls))])
    return np.array(rounds[2:])


def _turn(call: Callable[[], object], seconds: float) -> float:
    times: list[float] = []
    while sum(times) < seconds:
        started = perf_counter()
        call()
        times.append(perf_counter() - started)
    return float(np.median(times))


class _Rows(CalibrationDataReader):
    def __init__(self, rows: Iterator[Tensors]) -> None:
        self._rows = rows

    def get_next(self) -> Tensors | None:
        return next(self._rows, None)


def build(folder: Path) -> dict[str, Path]:
    """Write the files, each quantized file after its FP32 form."""
    digits = EXAMPLE / "digits.onnx"
    with np.load(EXAMPLE / "digits.npz") as rows:
        images = rows["image"][:64]
    static, dense, dynamic = (folder / f"{name}.onnx" for name in ("static", "dense", "dynamic"))
    quantize_static(
        digits, static, _Rows({"image": image[None]} for image in images),
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, per_channel=True,
    )  # fmt: skip
    onnx.save(models.perceptron("dense", models.LAYERS["mlp"]), dense)
    quantize_dynamic(dense, dynamic, weight_type=QuantType.QInt8, per_channel=True)
    return {
        "convolutions FP32": digits, "convolutions static INT8": static,
        "dense FP32": dense, "dense dynamic INT8": dynamic,
    }  # fmt: skip


def measure(seconds: float) -> Iterator[Row]:
    """Measure all files, sizes and thread counts."""
    with tempfile.TemporaryDirectory() as folder:
        for name, path in build(Path(folder)).items():
            row = models.inputs(path, seed=0)
            for threads in sorted({1, CORES}):
                for batch in BATCHES:
                    yield compare(name, path, repeated(row, batch), threads, seconds)


def main() -> int:
    """Print the table; with --check, return 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each row")
    parser.add_argument("--check", action="store_true", help=f"exit with 1 below {LEAST}")
    flags = parser.parse_args()
    print("\n".join(machine.description()))
    print(f"default kernels saturate here: {'yes' if saturates() else 'no'}\n")
    print(HEADS)
    missed = False
    for row in measure(flags.seconds):
        missed |= row.missed
        print(row, flush=True)
    return 1 if flags.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
