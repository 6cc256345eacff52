"""The checks of the gate: pure comparisons of measured values with their limits.

A cosine over the whole output hides a lost row, class or column. So the cosine is that of the worst
row, and each column is checked for having become constant.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from service.core.channels import are_probabilities, by_channel, comparable, stand_still
from service.core.checks import LIVE_ROWS, Check
from service.core.compatibility import Comparison
from service.core.non_finite import differs, equal, first_place, magnitude, ranked, without
from service.core.tensors import Array


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The thresholds of an output; None for no threshold.

    ``max_abs_error``: largest difference of one element. ``max_relative_error``: L2 norm of the
    difference divided by that of the reference. ``min_cosine``: cosine of the worst row (of the
    whole output if a row is one number). ``min_top1_agreement``: share of rows with the same
    largest element (for integers, strings and booleans: share of equal elements).
    ``min_accuracy``: share of rows whose largest element is the label.
    """

    max_abs_error: float | None = None
    max_relative_error: float | None = None
    min_cosine: float | None = None
    min_top1_agreement: float | None = None
    min_accuracy: float | None = None


DEFAULT_FLOAT = Tolerance(max_relative_error=0.35, min_cosine=0.7)
"""Thresholds of floats if model.toml sets none. They accept known losses of quantization (a
relative error of 0.28 for a dynamically quantized transformer, a cosine of 0.85 for a doubtful row
of a classifier), but not a broken model or a lost row."""
DEFAULT_DISCRETE = Tolerance(min_top1_agreement=0.95)


def default_tolerance(reference: Array) -> Tolerance:
    """Return the default thresholds of an output."""
    return DEFAULT_FLOAT if reference.dtype.kind == "f" else DEFAULT_DISCRETE


def compare(
    output: str, got: Array, reference: Array, labels: Array | None, tolerance: Tolerance
) -> list[Check]:
    """Check one output against the golden set. ``got`` and ``reference`` have the rows in their
    first axis; ``labels`` [rows] are integers.
    """
    if got.shape != reference.shape:
        wanted, came = (str(list(array.shape)) for array in (reference, got))
        return [Check("golden", "shape", came, wanted, False, output)]
    if reference.dtype.kind == "f":
        broken = list(_broken(output, got.astype(np.float64), reference.astype(np.float64)))
        if broken:
            return broken
    return list(_measured(output, got, reference, labels, tolerance))


def _broken(output: str, got: Array, reference: Array) -> Iterator[Check]:
    """Yield failed checks of errors that no tolerance allows: NaN and infinity that differ from the
    golden set, or a channel that became constant. A lost infinity is a lost mask."""
    differing, finite = differs(got, reference), np.isfinite(reference)
    for measure, where in (
        ("elements that are not finite", differing & finite),
        ("elements that are not the NaN or infinity of the golden set", differing & ~finite),
    ):
        if where.any():
            count, first = float(np.count_nonzero(where)), first_place(where, got, reference)
            yield Check("golden", measure, count, 0.0, False, output, f"the first at {first}")
    if not differing.any() and len(reference) > 1:
        want = by_channel([reference[row : row + 1] for row in range(len(reference))])
        came = by_channel([got[row : row + 1] for row in range(len(got))])
        lost = stand_still(*comparable(want, came), are_probabilities(want)).lost
        if lost.any():
            measure = "channels that are the same in every row"
            first = f"the first is {int(np.argmax(lost))}"
            yield Check("golden", measure, float(lost.sum()), 0.0, False, output, first)


def _measured(
    output: str, got: Array, reference: Array, labels: Array | None, tolerance: Tolerance
) -> Iterator[Check]:
    if got.dtype.kind == "f":
        yield from _distances(
            output, got.astype(np.float64), reference.astype(np.float64), tolerance
        )
    if tolerance.min_top1_agreement is not None:
        share = _share(equal(top1(got), top1(reference)))
        yield _at_least("top-1 agreement", share, tolerance.min_top1_agreement, output)
    if tolerance.min_accuracy is not None:
        yield _accuracy(output, top1(got), labels, tolerance.min_accuracy)


def _accuracy(output: str, best: Array, labels: Array | None, required: float) -> Check:
    if labels is None or labels.shape != best.shape:
        came = "not there" if labels is None else str(list(labels.shape))
        return Check("golden", "shape of labels", came, str(list(best.shape)), False, output)
    return _at_least("accuracy", _share(best == labels), required, output)


def _share(hits: Array) -> float:
    """Return the share of hits; 1 if there is nothing to compare."""
    return float(np.mean(hits)) if np.size(hits) else 1.0


def _distances(output: str, got: Array, reference: Array, tolerance: Tolerance) -> Iterator[Check]:
    """Yield the checks of the finite elements. The other elements were found equal before. A
    difference too large for a double counts as infinite, without a warning."""
    special = ~np.isfinite(reference)
    got, reference = without(got, special), without(reference, special)
    with np.errstate(over="ignore"):
        if tolerance.max_abs_error is not None:
            largest = float(np.abs(got - reference).max(initial=0.0))
            yield _at_most("absolute error", largest, tolerance.max_abs_error, output)
        if tolerance.max_relative_error is not None:
            scale = magnitude(reference)  # squares of what is larger than 1e154 overflow
            length = float(np.linalg.norm(reference / scale)) or 1.0
            share = float(np.linalg.norm(got / scale - reference / scale)) / length
            yield _at_most("relative error", share, tolerance.max_relative_error, output)
        if tolerance.min_cosine is not None:
            yield _at_least("cosine", worst_cosine(got, reference), tolerance.min_cosine, output)


def worst_cosine(got: Array, reference: Array) -> float:
    """Return the smallest cosine between a row and its reference. Two rows of zeros agree; elements
    that are not finite in either array are ignored.

    >>> worst_cosine(np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[2.0, 0.0], [0.0, 1.0]]))
    1.0
    """
    if not got.size:
        return 1.0
    rows = len(got) if got.ndim > 1 and got[0].size > 1 else 1
    special = ~(np.isfinite(got) & np.isfinite(reference))
    one, other = (_unit(without(array, special).reshape(rows, -1)) for array in (got, reference))
    both_zero = ~one.any(axis=1) & ~other.any(axis=1)
    return float(np.where(both_zero, 1.0, (one * other).sum(axis=1)).min())


def _unit(rows: Array) -> Array:
    """Scale rows to length 1; rows of zeros stay. Rows are divided by their largest value first,
    because squares may overflow."""
    largest = np.abs(rows).max(axis=1, keepdims=True)
    rows = rows / np.where(largest > 0, largest, 1.0)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(length > 0, length, 1.0))


def top1(array: Array) -> Array:
    """Return the index of the largest element along the last axis, or discrete values unchanged."""
    if array.dtype.kind == "f" and array.ndim > 1 and array.shape[-1] > 1:
        return np.asarray(ranked(array).argmax(-1))
    return array


ALLOW_CHANGE = (
    "to serve it anyway: quantserve swap or rollback with --allow-signature-change,"
    ' or {"allow_signature_change": true} in the body'
)
"""Advice for a refused signature."""


def keep_v1_by(model: str, number: int) -> str:
    """Advise a swap to this version number, if that is compatible without a flag."""
    return (
        f"to keep V1's answers: quantserve swap {model} {number}; to let V1 return all outputs, add"
        " --allow-signature-change"
    )


def signature_check(found: Comparison) -> Check:
    """Check that requests to the live version work with the new version as before."""
    if found.broken:
        text = f"{', '.join(found.broken)}: requests to the live version would fail"
        return Check("signature", "", text, "", False)
    measure = "inputs and outputs"
    if not (found.widened or found.v1_outputs):
        return Check("signature", measure, "the same", "the same", True)
    kept = " and ".join(f'"{name}"' for name in found.v1_outputs)
    told = [*found.widened, *([f"V1 still returns only {kept}"] if kept else [])]
    return Check("signature", measure, "compatible: " + ", ".join(told), "the same or wider", True)


def memory_check(resident: int, budget: int, promised: int = 0) -> Check:
    """Check that the process stays within its budget when the caches are full. All arguments are
    bytes; ``promised`` are the bytes that caches have not taken yet."""
    held, measure = resident + promised, "bytes of the process"
    if promised:
        measure += " with full caches of language models"
    return Check("memory", measure, float(held), float(budget), held <= budget)


def growth_check(grown: int, room: int) -> Check:
    """Return the failed check of a version whose load was stopped because it needed more bytes than
    are left."""
    measure = "bytes that loading and warm-up need at least"
    return Check("memory", measure, float(grown), float(room), False)


def rows_check(ran: int, rows: int, error: str) -> Check:
    """Check that a version runs the rows with which the live version was probed. ``error`` is the
    first failure."""
    measured, required = float(ran), float(rows)
    return Check("rows", LIVE_ROWS, measured, required, ran == rows, detail=error)


def speed_check(live_seconds: float, new_seconds: float, max_slowdown: float) -> Check:
    """Check that the new version takes at most ``max_slowdown`` times as long as the live one."""
    ratio = new_seconds / live_seconds if live_seconds > 0 else 0.0
    measure = "time as a multiple of the live version's"
    return Check("speed", measure, ratio, max_slowdown, ratio <= max_slowdown)


def _at_most(measure: str, value: float, bound: float, output: str) -> Check:
    return Check("golden", measure, value, bound, value <= bound, output)


def _at_least(measure: str, value: float, bound: float, output: str) -> Check:
    return Check("golden", measure, value, bound, value >= bound, output)
