"""Checks the answers of a rewritten graph before it is timed.

One fusion of ONNX Runtime's optimiser adds the bias before the scales of rows (see ``per_row``).
Therefore the answers of the optimised file, as served, are compared with those of the unoptimised
file. They may differ by rounding only. The unoptimised file is compared with the float graph, with
a wider tolerance.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from service.core.tensors import Array
from service.quantization.evaluate.noise import noise

ROWS = 4
FUSED = 1e-3
"""Noise-to-signal ratio (power) allowed for a different order of summation: 3 % in amplitude."""
SPREAD = 4
"""The additional deviation allowed, in multiples of the quantization noise: in a deep graph, one
value rounded the other way in an early layer changes the rounding in all later layers."""
FAR = 0.5
"""Noise-to-signal ratio above which the answers are unrelated to the float graph's."""

Feed = Mapping[str, Array]


class WrongAnswers(Exception):
    """The built graph does not compute what its source computes."""


def check_answers(built: Path, source: Path, feeds: Sequence[Feed]) -> None:
    """Compare answers for a few rows, one at a time and as a batch if the model accepts one.

    Raises:
        WrongAnswers: ONNX Runtime's optimiser changes the answers, or they are too far from the
            float graph's.
    """
    plain = _session(built, ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
    served = _session(built, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
    exact = _session(source, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
    for feed in _batches(exact, feeds[:ROWS]):
        answers = _run(plain, feed)
        far = noise([_run(exact, feed)], [answers])
        if far > FAR:
            raise WrongAnswers(
                f"answers are far from the float graph's: noise-to-signal ratio {far:.2g}"
            )
        moved = noise([answers], [_run(served, feed)])
        if moved > FUSED + SPREAD * far:
            raise WrongAnswers(
                "ONNX Runtime's optimiser changes its answers: noise-to-signal ratio "
                f"{moved:.2g}, compared with the same file without optimisation"
            )


def _session(path: Path, level: ort.GraphOptimizationLevel) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level, options.log_severity_level = level, 4
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _run(session: ort.InferenceSession, feed: Feed) -> tuple[Array, ...]:
    return tuple(session.run(None, dict(feed)))


def _batches(exact: ort.InferenceSession, feeds: Sequence[Feed]) -> list[Feed]:
    """Return the rows, followed by a batch of the rows that have the shapes of the first row, if
    the float graph accepts it."""
    first = feeds[0]
    alike = [f for f in feeds if all(f[name].shape == first[name].shape for name in first)]
    if len(alike) < 2 or any(not array.ndim for array in first.values()):
        return list(feeds)
    joined = {name: np.concatenate([feed[name] for feed in alike]) for name in first}
    try:
        _run(exact, joined)
    except Exception:  # a fixed batch size, or a first axis that is not a batch
        return list(feeds)
    return [*feeds, joined]
