"""Scores answers against FP32's or against labels: per output, and per channel of each output.

A mean over all values hides errors: a detector's overall cosine can stay at 0.9993 while all class
scores are 0. So each channel is scored too, and a channel that became constant fails the candidate.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log10

import numpy as np

from service.core.channels import (
    FLOOR,
    are_probabilities,
    by_channel,
    comparable,
    stand_still,
    units,
    within_double,
)
from service.core.errors import ConfigError
from service.core.non_finite import differs, first_place, magnitude, ranked, without
from service.core.tensors import Array, Arrays
from service.quantization.data.elements import beside, by_name, values
from service.quantization.data.fitting import fitting
from service.quantization.data.labelled import accuracies, fitting_metric, r2, r2s
from service.quantization.data.user_functions import user_function

BUILT_IN = ("auto", "accuracy", "agreement", "cosine", "r2")
MOST_SLICES = 4096
MOST_DB = 200.0
"""The value of ``sqnr`` for equal answers, where the ratio is infinite."""


@dataclass(frozen=True, slots=True)
class OutputQuality:
    """One output compared with FP32's.

    ``agreement`` is the share of equal argmax along the last axis, None for an output without
    classes, such as an embedding or a quantity. ``sqnr`` is in dB. ``worst_cosine`` is the cosine
    of channel ``worst_slice``.
    """

    name: str
    agreement: float | None
    cosine: float
    sqnr: float
    worst_slice: int
    worst_cosine: float
    dead_slices: int


@dataclass(frozen=True, slots=True)
class Quality:
    """The metric of a candidate (``score``) and of FP32 (``reference``); higher is better."""

    metric: str
    score: float
    reference: float
    outputs: tuple[OutputQuality, ...]
    failure: str = ""

    @property
    def drop(self) -> float:
        """The drop of the score from FP32's, at least 0. 0.01 is one percentage point."""
        return max(0.0, self.reference - self.score)


Metric = Callable[[dict[str, Array], Array | None], float]
Answers = Sequence[Arrays]
"""A tuple of outputs for each row."""


def check_metric(asked: str, labels: Array | None) -> None:
    """Check that a metric exists, before any other work.

    Raises:
        ConfigError: it does not exist, or needs labels and there are none.
    """
    if asked not in BUILT_IN and ":" not in asked:
        raise ConfigError(f"--metric {asked}: give {', '.join(BUILT_IN)} or module:function")
    if asked == "accuracy" and labels is None:
        raise ConfigError("--metric accuracy needs labels; the data has none (see --labels)")
    if ":" in asked:
        user_metric(asked)


def choose_metric(asked: str, labels: Array | None, names: Sequence[str], answers: Answers) -> str:
    """Return the name of the metric: ``asked``, or, if that is "auto", the default for the labels
    and outputs.

    Raises:
        ConfigError: the labels fit none of the outputs.
    """
    if asked != "auto":
        return asked
    if labels is not None:
        return fitting_metric(*beside(names, answers, labels))
    return fitting(names[0], _column(answers[:64], 0))


def compare(
    names: Sequence[str], metric: str, want: Answers, got: Answers, labels: Array | None
) -> Quality:
    """Score a candidate's answers, row by row, against FP32's."""
    columns = [_output(name, _column(want, i), _column(got, i)) for i, name in enumerate(names)]
    failure = _failure(names, want, got, columns, ":" in metric)
    score, reference = 0.0, 1.0
    if not failure:
        score, reference = _score(names, metric, want, got, labels, columns)
        if not np.isfinite(score):
            failure = f"the metric {metric} is {score}"
        elif not np.isfinite(reference):
            failure = f"the metric {metric} is {reference} for FP32"
    return Quality(metric, float(score), float(reference), tuple(columns), failure)


def _score(
    names: Sequence[str],
    metric: str,
    want: Answers,
    got: Answers,
    labels: Array | None,
    columns: Sequence[OutputQuality],
) -> tuple[float, float]:
    if metric == "agreement":
        # Outputs without classes, such as hidden states, are scored by cosine.
        scores = [c.cosine if c.agreement is None else c.agreement for c in columns]
        if columns[0].agreement is None:  # agreement was asked for explicitly
            scores[0] = _agreement(_column(want, 0), _column(got, 0))
        return min(scores), 1.0
    if metric == "cosine":
        return min(column.cosine for column in columns), 1.0
    if metric == "r2" and labels is None:
        pairs = ((_column(want, i), _column(got, i)) for i in range(len(names)))
        return min(r2(values(w), values(g)) for w, g in pairs), 1.0
    if ":" in metric:
        return _by_user(metric, by_name(names, got), by_name(names, want), labels)
    assert labels is not None, "check_metric requires labels"
    first, _ = beside(names, got, labels)
    second, known = beside(names, want, labels)
    return (accuracies if metric == "accuracy" else r2s)(first, second, known)


def _by_user(
    metric: str, got: dict[str, Array], want: dict[str, Array], labels: Array | None
) -> tuple[float, float]:
    measure = user_metric(metric)
    try:
        reference = float(measure(want, labels))
    except Exception as error:
        raise ConfigError(
            f"--metric {metric} fails on FP32's answers: {type(error).__name__}: {error}"
        ) from error
    return float(measure(got, labels)), reference


def user_metric(spec: str) -> Metric:
    """Load the function ``module:function``, which accepts the outputs by name and the labels.

    An output is one array with rows on the first axis. If the rows differ in shape, the output is
    an object array with one array for each row. The labels are such an array too if runs have
    different numbers of labels.

    Raises:
        ConfigError: it cannot be imported.
    """
    try:
        with user_function(spec) as function:
            found: Metric = function
    except Exception as error:
        raise ConfigError(f"--metric {spec}: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise ConfigError(f"--metric {spec} is {type(found).__name__}, not a function")
    return found


def _column(rows: Answers, index: int) -> list[Array]:
    return [row[index] for row in rows]


def _failure(
    names: Sequence[str],
    want: Answers,
    got: Answers,
    columns: Sequence[OutputQuality],
    by_user: bool,
) -> str:
    for i, name in enumerate(names):
        varies = len({w.shape for w in _column(want, i)}) > 1  # such as the number of boxes
        for w, g in zip(_column(want, i), _column(got, i), strict=True):
            if w.shape != g.shape and not (by_user and varies):
                advice = "; only a --metric module:function can compare these" if varies else ""
                return (
                    f'output "{name}" has shape {list(g.shape)}, FP32 gives {list(w.shape)}{advice}'
                )
            if w.shape == g.shape and g.dtype.kind == "f" and (place := differs(g, w)).any():
                return (
                    f'output "{name}" has NaN or infinity at other places than FP32: '
                    f"{int(place.sum())} elements of a row, {first_place(place, g, w)}"
                )
    for column in columns:
        if column.dead_slices:
            return (
                f'output "{column.name}": {column.dead_slices} slices are constant where FP32\'s '
                f"vary, such as slice {column.worst_slice}"
            )
    return ""


def _output(name: str, want: list[Array], got: list[Array]) -> OutputQuality:
    if any(w.shape != g.shape for w, g in zip(want, got, strict=True)):
        return OutputQuality(name, None, 0.0, -MOST_DB, 0, 0.0, 0)
    if want[0].dtype.kind != "f":
        pairs = zip(want, got, strict=True)
        same = float(np.mean([np.mean(w == g) if w.size else 1.0 for w, g in pairs]))
        return OutputQuality(name, same, same, MOST_DB, 0, same, 0)
    whole = by_channel(want), by_channel(got)
    broken = np.atleast_1d(differs(whole[1], whole[0]).any(axis=0))
    w, g = comparable(*whole)
    cosines = [cosine(a, b) for a, b in zip(want, got, strict=True)]
    slices, dead = _slices(w, g, broken, are_probabilities(whole[0]))
    worst = int(np.argmin(slices)) if len(slices) else 0
    return OutputQuality(
        name,
        _agreement(want, got) if fitting(name, want[:64]) == "agreement" else None,
        float(np.mean(cosines)),
        -MOST_DB if broken.any() else _sqnr(w, g),
        worst,
        float(slices[worst]) if len(slices) else 1.0,
        dead,
    )


def _slices(want: Array, got: Array, broken: Array, probabilities: bool) -> tuple[Array, int]:
    """Return the cosine of each channel after subtracting FP32's mean, and the number of dead
    channels.

    Channels that are nearly constant in FP32 score 1. Dead channels score -1, and so do ``broken``
    channels, whose NaN or infinities differ from FP32's.
    """
    if want.shape[1] > MOST_SLICES:
        step = -(-want.shape[1] // MOST_SLICES)
        want, got, broken = want[:, ::step], got[:, ::step], broken[::step]
    still = stand_still(want, got, probabilities)
    unit = units(want)
    want, got = want / unit, within_double(got, unit)
    mean = want.mean(axis=0)
    w, g = want - mean, got - mean
    norms = np.linalg.norm(w, axis=0) * np.linalg.norm(g, axis=0)
    cosines = np.where(still.moves, (w * g).sum(axis=0) / np.maximum(norms, FLOOR), 1.0)
    lost = still.lost
    return np.where(lost | broken, -1.0, cosines), int((lost & ~broken).sum())


def _agreement(want: list[Array], got: list[Array]) -> float:
    """Return the share of equal argmax along the last axis. Empty arrays are skipped; the result is
    1.0 if all arrays are empty."""
    pairs = [(w, g) for w, g in zip(want, got, strict=True) if w.size]
    hits = [np.mean(ranked(w).argmax(-1) == ranked(g).argmax(-1)) for w, g in pairs]
    return float(np.mean(hits)) if hits else 1.0


def cosine(want: Array, got: Array) -> float:
    """Return the cosine similarity of two arrays as vectors; 0 if their NaN or infinities
    differ."""
    if differs(got, want).any():
        return 0.0
    special = ~np.isfinite(want)
    w, g = without(want, special).ravel(), without(got, special).ravel()
    units = magnitude(w), magnitude(g)
    a, b = w / units[0], g / units[1]
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    if norm * units[0] * units[1] > FLOOR:
        return float(a @ b) / norm
    return float(np.allclose(w, g))


def _sqnr(want: Array, got: Array) -> float:
    """Return the ratio of signal to quantization noise in dB, 200 for equal answers."""
    unit = magnitude(want)
    want, got = want / unit, within_double(got, unit)
    noise = float(((want - got) ** 2).sum())
    signal = float((want**2).sum())
    return 10 * log10(max(signal, FLOOR) / noise) if noise * unit * unit > FLOOR else MOST_DB
