"""Scores outputs against labels.

An output can be read in several ways, such as argmax or a threshold. Among all readings of all
outputs that fit the labels' shape and values, the reading with the best score for FP32 is chosen.
It is used for both FP32 and the candidate.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np

from service.core.errors import ConfigError
from service.core.non_finite import magnitude, ranked, without
from service.core.tensors import Array
from service.quantization.data.labels import flat, varies

Outputs = Mapping[str, Array]
"""Outputs [rows, ...] by name."""
Hits = Callable[[Outputs], Array]
"""Returns a boolean array: True for each label that is predicted correctly."""
FLOOR = 1e-30
MOST = 1e140


def fitting_metric(outputs: Outputs, labels: Array) -> str:
    """Return the metric for labels: "accuracy" for classes that an output can predict, "r2" for
    quantities.

    Raises:
        ConfigError: no output fits the labels.
    """
    if _are_classes(labels) and next(_readings(outputs, labels), None):
        return "accuracy"
    if labels.dtype.kind in "iubf" and _quantities(outputs, labels):
        return "r2"
    raise _misfit(outputs, labels)


def accuracies(got: Outputs, want: Outputs, labels: Array) -> tuple[float, float]:
    """Return the accuracy of a candidate and of FP32, over all labels of all rows.

    Raises:
        ConfigError: no output fits the labels.
    """
    readings = list(_readings(want, labels))
    if not readings:
        raise _misfit(want, labels)
    best = max(readings, key=lambda hits: float(hits(want).mean()))
    return float(best(got).mean()), float(best(want).mean())


def r2s(got: Outputs, want: Outputs, labels: Array) -> tuple[float, float]:
    """Return the coefficient of determination (R²) of a candidate and of FP32.

    Raises:
        ConfigError: no output has a value for each label.
    """
    names = _quantities(want, labels) if labels.dtype.kind in "iubf" else []
    if not names:
        raise _misfit(want, labels)
    best = max(names, key=lambda name: r2(labels, want[name].reshape(labels.shape)))
    shaped = (outputs[best].reshape(labels.shape) for outputs in (got, want))
    first, second = (r2(labels, found) for found in shaped)
    return first, second


def doubt(metric: str, reference: float, labels: Array | None) -> str:
    """Return a warning if FP32's accuracy is too low for a drop to be meaningful, else ""."""
    if metric != "accuracy" or labels is None:
        return ""
    several = varies(labels) or labels.ndim > 1
    labels = flat(labels)
    known = labels[labels >= 0] if several else labels
    most = float(np.unique(known, return_counts=True)[1].max() / known.size)
    if reference > most:
        return ""
    return (
        f"FP32's accuracy, {reference:.4f}, is no better than always predicting the most "
        f"frequent label, {most:.4f}: it may not show errors that quantization causes"
    )


def r2(want: Array, got: Array) -> float:
    """Return R²: 1 - squared error / variance. 1 is perfect, 0 is as good as the mean."""
    # Only values finite in both count: NaN and infinities that differ have failed the candidate.
    special = ~(np.isfinite(want) & np.isfinite(got))
    unit = magnitude(want)  # the squares of values beyond 1e154 would overflow
    with np.errstate(over="ignore"):
        want, got = (np.clip(without(each, special) / unit, -MOST, MOST) for each in (want, got))
    mean = want.sum(axis=0) / np.maximum(1, (~special).sum(axis=0))
    spread = float((without(want - mean, special) ** 2).sum())
    return 1 - float(((want - got) ** 2).sum()) / (spread or FLOOR)


def _are_classes(labels: Array) -> bool:
    return labels.dtype.kind != "f" or bool((labels == np.round(labels)).all())


def _readings(outputs: Outputs, labels: Array) -> Iterator[Hits]:
    for name, output in outputs.items():
        if output.dtype.kind == "f":
            yield from _scores(name, output, labels)
        elif output.size == labels.size and _alike(output, labels):
            yield partial(_named, name, labels)


def _scores(name: str, output: Array, labels: Array) -> Iterator[Hits]:
    """Yield readings of a float output: argmax over the classes, or each value against a threshold.

    If rows have several labels, a negative label means "no label".
    """
    if labels.dtype.kind not in "iubf":
        return
    binary = bool(np.isin(labels, (0, 1)).all())
    if output.size == labels.size and binary:
        probabilities = bool(((output >= 0) & (output <= 1)).all())
        yield partial(_beyond, name, labels, 0.5 if probabilities else 0.0)
        if labels.ndim == 2 and labels.shape == output.shape and (labels.sum(axis=1) == 1).all():
            yield partial(_highest, name, labels.argmax(axis=1), 1)
    places = output.ndim == labels.ndim + 1 and (labels.ndim > 1 or labels.min() >= 0)
    for axis in {1, output.ndim - 1} if places else ():
        shape = output.shape[:axis] + output.shape[axis + 1 :]
        if shape == labels.shape and 1 < output.shape[axis] > labels.max() >= 0:
            yield partial(_highest, name, labels, axis)


def _named(name: str, labels: Array, outputs: Outputs) -> Array:
    found = outputs[name].reshape(labels.shape)
    return np.asarray((found.astype(np.str_) if found.dtype.kind == "O" else found) == labels)


def _beyond(name: str, labels: Array, threshold: float, outputs: Outputs) -> Array:
    return np.asarray((outputs[name].reshape(labels.shape) > threshold) == labels)


def _highest(name: str, labels: Array, axis: int, outputs: Outputs) -> Array:
    return np.asarray(ranked(outputs[name]).argmax(axis=axis) == labels)[labels >= 0]


def _alike(output: Array, labels: Array) -> bool:
    """Return True if both are strings or both are numbers."""
    return (output.dtype.kind in "OU") == (labels.dtype.kind == "U")


def _quantities(outputs: Outputs, labels: Array) -> list[str]:
    return [n for n, o in outputs.items() if o.dtype.kind == "f" and o.size == labels.size]


def _misfit(outputs: Outputs, labels: Array) -> ConfigError:
    has = ", ".join(f'"{name}" {o.dtype} {list(o.shape)}' for name, o in outputs.items())
    span = f" from {labels.min()} to {labels.max()}" if labels.dtype.kind in "iubf" else ""
    return ConfigError(
        f"the labels, {labels.dtype} {list(labels.shape)}{span}, fit none of the outputs ({has}); "
        "give labels that fit one, or --metric module:function"
    )
