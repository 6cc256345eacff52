"""Checks a rewritten graph by its numbers, before it is timed.

ONNX Runtime's optimiser fuses patterns, and one of its fusions adds a bias before the scales of
rows (``per_row``). So the file's answers as it is served are compared with those that the same file
gives unoptimised, where only rounding may differ; and with those of the float graph, from which
they may not be far.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from service.core.tensors import Array
from service.quantization.noise import noise

ROWS = 4
FUSED = 1e-3
"""Noise over signal that may come from sums in another order: 3 % of the answers' size."""
SPREAD = 4
"""As many times the noise of rounding to eight bits may come from it as well: one value that is
rounded the other way early in a deep graph changes what all after it are rounded to."""
FAR = 0.5
"""Noise over signal from which on a graph does not compute what its float form does."""

Feed = Mapping[str, Array]


class WrongAnswers(Exception):
    """A graph that was built computes something else than the one that it was made from."""


def check_answers(built: Path, source: Path, feeds: Sequence[Feed]) -> None:
    """Compare answers for some rows, alone and joined where the model takes them so.

    Raises:
        WrongAnswers: ONNX Runtime's optimiser changes them, or they are far from the float graph's.
    """
    plain = _session(built, ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
    served = _session(built, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
    exact = _session(source, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
    for feed in _batches(exact, feeds[:ROWS]):
        answers = _run(plain, feed)
        far = noise([_run(exact, feed)], [answers])
        if far > FAR:
            raise WrongAnswers(
                f"answers are far from the float graph's: noise over signal {far:.2g}"
            )
        moved = noise([answers], [_run(served, feed)])
        if moved > FUSED + SPREAD * far:
            raise WrongAnswers(
                "ONNX Runtime's optimiser changes its answers: noise over signal "
                f"{moved:.2g} to the same file unoptimised"
            )


def _session(path: Path, level: ort.GraphOptimizationLevel) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level, options.log_severity_level = level, 4
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _run(session: ort.InferenceSession, feed: Feed) -> tuple[Array, ...]:
    return tuple(session.run(None, dict(feed)))


def _batches(exact: ort.InferenceSession, feeds: Sequence[Feed]) -> list[Feed]:
    """The rows, and those like the first as one batch if the float graph takes it."""
    first = feeds[0]
    alike = [f for f in feeds if all(f[name].shape == first[name].shape for name in first)]
    if len(alike) < 2 or any(not array.ndim for array in first.values()):
        return list(feeds)
    joined = {name: np.concatenate([feed[name] for feed in alike]) for name in first}
    try:
        _run(exact, joined)
    except Exception:  # a batch of fixed size, or a first axis that is none
        return list(feeds)
    return [*feeds, joined]
