"""Scores answers against FP32's, or against labels: per output, and per slice of each output.

One mean does not tell: a detector's overall cosine can stay at 0.9993 while all its class scores
are 0. So each output is also looked at by its channels, and one that lost its life fails at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log10, prod

import numpy as np

from service.core.errors import ConfigError
from service.core.tensors import Array, Arrays
from service.quantization.elements import beside, by_name, values
from service.quantization.labelled import accuracies, fitting_metric, r2, r2s
from service.quantization.modules import user_function

BUILT_IN = ("auto", "accuracy", "agreement", "cosine", "r2")
DEAD = 0.05
"""A slice that keeps less than this share of its spread over the rows has lost its life."""
MOVES = 1e-4
"""A slice moves if its spread over the rows is at least this share of its own largest value."""
LIKELY = 0.01
"""Where channels are probabilities, one matters if its spread reaches this: most never do."""
MOST_SLICES = 4096
FLOOR = 1e-30
MOST_DB = 200.0
"""Stands for no noise at all."""


@dataclass(frozen=True, slots=True)
class OutputQuality:
    """One output compared with FP32's. ``agreement`` is of the largest value's place along the
    last axis; ``sqnr`` is in dB; ``worst_cosine`` is that of slice ``worst_slice``."""

    name: str
    agreement: float
    cosine: float
    sqnr: float
    worst_slice: int
    worst_cosine: float
    dead_slices: int


@dataclass(frozen=True, slots=True)
class Quality:
    """``score`` of the candidate, ``reference`` of FP32, in the metric's terms: more is better."""

    metric: str
    score: float
    reference: float
    outputs: tuple[OutputQuality, ...]
    failure: str = ""

    @property
    def drop(self) -> float:
        """By how much the score fell: 0.01 is one point."""
        return max(0.0, self.reference - self.score)


Metric = Callable[[dict[str, Array], Array | None], float]
Answers = Sequence[Arrays]
"""One tuple of outputs a row."""


def check_metric(asked: str, labels: Array | None) -> None:
    """Look whether there is such a metric at all, before any work.

    Raises:
        ConfigError: there is not, or it needs labels that are not there.
    """
    if asked not in BUILT_IN and ":" not in asked:
        raise ConfigError(f"--metric {asked}: give {', '.join(BUILT_IN)} or module:function")
    if asked == "accuracy" and labels is None:
        raise ConfigError("--metric accuracy needs labels; the data has none (see --labels)")
    if ":" in asked:
        user_metric(asked)


def choose_metric(asked: str, labels: Array | None, names: Sequence[str], answers: Answers) -> str:
    """The metric's name: what was asked, else what fits the labels and the outputs.

    Raises:
        ConfigError: the labels fit none of the outputs.
    """
    if asked != "auto":
        return asked
    if labels is not None:
        return fitting_metric(*beside(names, answers, labels))
    return _fitting([row[0] for row in answers[:64]])


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
    return Quality(metric, float(score), float(reference), tuple(columns), failure)


def _fitting(answers: Sequence[Array]) -> str:
    """What fits one output: unit vectors are embeddings; a single value is a regression, and so is
    each of several probabilities that do not exclude each other; other rows are class scores."""
    found = [array.reshape(-1, *array.shape[-1:]) for array in answers if array.size]
    if not found:
        return "cosine"
    if found[0].dtype.kind != "f":
        return "agreement"
    if len({array.shape[1:] for array in found}) > 1:  # lengths, not classes, along the last axis
        return "cosine"
    first = np.concatenate(found).reshape(-1, *found[0].shape[1:] or (1,))
    if first.shape[1] == 1:
        return "r2"
    norms = np.linalg.norm(first.astype(np.float64), axis=1)
    sums = first.sum(axis=1)
    if np.allclose(norms, 1, atol=1e-3) and not np.allclose(sums, 1, atol=1e-3):
        return "cosine"
    if np.allclose(sums, 1, atol=1e-3):
        return "agreement"
    if answers[0].ndim > 2:
        return "cosine"
    return "r2" if ((first >= 0) & (first <= 1)).all() else "agreement"


def _score(
    names: Sequence[str],
    metric: str,
    want: Answers,
    got: Answers,
    labels: Array | None,
    columns: Sequence[OutputQuality],
) -> tuple[float, float]:
    if metric == "agreement":
        # Hidden states and embeddings beside class scores have no class: their direction counts.
        scores = [
            i for i in range(len(names)) if not i or _fitting(_column(want[:64], i)) == metric
        ]
        return min(c.agreement if i in scores else c.cosine for i, c in enumerate(columns)), 1.0
    if metric == "cosine":
        return min(column.cosine for column in columns), 1.0
    if metric == "r2" and labels is None:
        pairs = ((_column(want, i), _column(got, i)) for i in range(len(names)))
        return min(r2(values(w), values(g)) for w, g in pairs), 1.0
    if ":" in metric:
        return _by_user(metric, by_name(names, got), by_name(names, want), labels)
    assert labels is not None, "choose_metric asks for labels"
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
    """The function that ``module:function`` names; it takes outputs by name, and labels.

    An output is one array with the rows in its first axis; where the rows' shapes differ, a list of
    one array a row, as an array of objects. So are labels of which runs have different numbers.

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
        varies = len({w.shape for w in _column(want, i)}) > 1  # the number of boxes found, say
        for w, g in zip(_column(want, i), _column(got, i), strict=True):
            if w.shape != g.shape and not (by_user and varies):
                advice = "; only a --metric module:function can compare these" if varies else ""
                return (
                    f'output "{name}" has shape {list(g.shape)}, FP32 gives {list(w.shape)}{advice}'
                )
            if g.dtype.kind == "f" and np.isfinite(w).all() and not np.isfinite(g).all():
                return f'output "{name}" holds NaN or infinity'
    for column in columns:
        if column.dead_slices:
            return (
                f'output "{column.name}": {column.dead_slices} slices are constant where FP32\'s '
                f"move, such as slice {column.worst_slice}"
            )
    return ""


def _output(name: str, want: list[Array], got: list[Array]) -> OutputQuality:
    if any(w.shape != g.shape for w, g in zip(want, got, strict=True)):
        return OutputQuality(name, 0.0, 0.0, -MOST_DB, 0, 0.0, 0)
    if want[0].dtype.kind != "f":
        pairs = zip(want, got, strict=True)
        same = float(np.mean([np.mean(w == g) if w.size else 1.0 for w, g in pairs]))
        return OutputQuality(name, same, same, MOST_DB, 0, same, 0)
    w, g = _by_channel(want), _by_channel(got)
    cosines = [_cosine(a, b) for a, b in zip(want, got, strict=True)]
    slices, dead = _slices(w, g)
    worst = int(np.argmin(slices)) if len(slices) else 0
    return OutputQuality(
        name,
        _agreement(want, got),
        float(np.mean(cosines)),
        _sqnr(w, g),
        worst,
        float(slices[worst]) if len(slices) else 1.0,
        dead,
    )


def _by_channel(arrays: list[Array]) -> Array:
    """[values, channels] in float64: axis 1 of images [n, c, h, w], else the last axis."""
    flat = []
    for array in map(np.atleast_1d, arrays):
        moved = np.moveaxis(array, 1, -1) if array.ndim == 4 else array
        flat.append(moved.reshape(prod(moved.shape[:-1]), moved.shape[-1]))
    if len({array.shape[1] for array in flat}) > 1:
        flat = [array.reshape(-1, 1) for array in flat]
    return np.concatenate(flat).astype(np.float64)


def _slices(want: Array, got: Array) -> tuple[Array, int]:
    """The cosine of each channel about FP32's mean of it, and how many channels are dead.

    Channels that hardly move in FP32 count as right.
    """
    probabilities = want.shape[1] > 1 and np.allclose(want.sum(axis=1), 1, atol=1e-3)
    if want.shape[1] > MOST_SLICES:
        step = -(-want.shape[1] // MOST_SLICES)
        want, got = want[:, ::step], got[:, ::step]
    spread, kept = want.std(axis=0), got.std(axis=0)
    matters = spread > np.maximum(MOVES * np.abs(want).max(axis=0), FLOOR)
    if probabilities:
        matters &= spread >= LIKELY
    mean = want.mean(axis=0)
    w, g = want - mean, got - mean
    norms = np.linalg.norm(w, axis=0) * np.linalg.norm(g, axis=0)
    cosines = np.where(matters, (w * g).sum(axis=0) / np.maximum(norms, FLOOR), 1.0)
    dead = matters & (kept < DEAD * spread)
    return np.where(dead, -1.0, cosines), int(dead.sum())


def _agreement(want: list[Array], got: list[Array]) -> float:
    """Arrays without a value, as a graph without edges gives, agree."""
    pairs = [(w, g) for w, g in zip(want, got, strict=True) if w.size]
    hits = [np.mean(w.argmax(axis=-1) == g.argmax(axis=-1)) for w, g in pairs]
    return float(np.mean(hits)) if hits else 1.0


def _cosine(want: Array, got: Array) -> float:
    w, g = want.astype(np.float64).ravel(), got.astype(np.float64).ravel()
    norm = float(np.linalg.norm(w) * np.linalg.norm(g))
    return float(w @ g) / norm if norm > FLOOR else float(np.allclose(w, g))


def _sqnr(want: Array, got: Array) -> float:
    """Signal to quantization noise in dB, 200 for equal answers."""
    noise = float(((want - got) ** 2).sum())
    signal = float((want**2).sum())
    return 10 * log10(max(signal, FLOOR) / noise) if noise > FLOOR else MOST_DB
