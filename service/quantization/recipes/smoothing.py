"""Moves outliers from activations to weights: x * d and W / d, per channel.

As in SmoothQuant (https://arxiv.org/abs/2211.10438) with alpha 0.5. All products that read an
activation share its factors.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from service.core.tensors import Array

ALPHA = 0.5
WIDEST = 100.0
"""The largest factor. Factors are clipped to the range from its inverse to this value."""
LEAST_PEAK = 1e-3
"""Peaks below this share of the largest peak are raised to it."""


def factors(peaks: Array, weights: Sequence[Array]) -> Array | None:
    """Return the smoothing factors [K]; None if all peaks are 0, or a peak or weight is not finite.

    ``peaks`` [K] are the peaks of the activation from ``peaks_of``; ``weights`` [K, N] are the
    weights of all products that read the activation.
    """
    largest = float(peaks.max(initial=0.0))
    if not 0 < largest < np.inf:
        return None
    # In FP64: the ratio of a tiny peak and a huge weight is 0 in FP32.
    sizes = np.max([np.abs(each).max(axis=1) for each in weights], axis=0).astype(np.float64)
    if not np.isfinite(sizes).all():
        return None
    raised = np.maximum(peaks.astype(np.float64), LEAST_PEAK * largest)
    rough = raised**ALPHA / np.maximum(sizes, 1e-6) ** (1 - ALPHA)
    even = np.clip(rough / np.exp(np.log(rough).mean()), 1 / WIDEST, WIDEST)
    found: Array = (1 / even).astype(np.float32)
    return found


def peaks_of(
    model: onnx.ModelProto, names: Sequence[str], feeds: Iterable[dict[str, Array]]
) -> dict[str, Array]:
    """Return the peak of each channel (last axis) of tensors of the main graph: the largest
    magnitude over all rows, relative to the root mean square of its row. Each row has its own
    scale, so large and small rows have equal weight.

    Compared with absolute magnitudes, this halves the error of networks whose rows differ by orders
    of magnitude, and makes no difference after a normalisation.
    """
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    inputs = {value.name for value in model.graph.input}
    made = [name for name in names if name not in inputs]
    del watched.graph.output[:]
    watched.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in made
    )
    options = ort.SessionOptions()
    options.log_severity_level = 4
    peaks: dict[str, Array] = {}
    session = None
    if made:
        data = watched.SerializeToString()
        session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    for feed in feeds:
        got = dict(zip(made, session.run(made, feed), strict=True)) if session else {}
        got |= {name: feed[name] for name in names if name in feed}
        for name, values in got.items():
            peak = _peak(values.reshape(-1, values.shape[-1]))
            peaks[name] = np.fmax(peaks[name], peak) if name in peaks else peak
    return peaks


def _peak(rows: Array) -> Array:
    sizes = np.abs(rows).astype(np.float64)
    usual = np.sqrt(np.square(sizes).mean(axis=1, keepdims=True))
    known = (usual > 0) & np.isfinite(usual)
    shares = np.divide(sizes, usual, out=np.zeros_like(sizes), where=known)
    found: Array = shares.max(axis=0, initial=0.0)
    return found


def load_peaks(path: Path) -> dict[str, Array] | None:
    """Load peaks written by ``save_peaks``; None if there is no file."""
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as archive:
        names = archive["names"]
        return {str(name): archive[f"peaks/{i}"] for i, name in enumerate(names)}


def save_peaks(peaks: Mapping[str, Array], path: Path) -> None:
    """Save peaks for later recipes."""
    arrays: dict[str, Any] = {f"peaks/{i}": values for i, values in enumerate(peaks.values())}
    with path.open("wb") as file:
        np.savez(file, names=np.array(list(peaks), dtype=np.str_), **arrays)
