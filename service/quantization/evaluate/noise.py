"""The noise-to-signal ratio between two sets of answers."""

from collections.abc import Sequence
from math import inf

import numpy as np

from service.core.non_finite import differs, without
from service.core.tensors import Arrays


def noise(want: Sequence[Arrays], got: Sequence[Arrays]) -> float:
    """Return the highest noise-to-signal ratio (power) of all float outputs, over all rows. The
    result is infinity if an element is finite in only one of the sets.

    Outputs of integers or strings are ignored.
    """
    worst = 0.0
    for w, g in zip(zip(*want, strict=True), zip(*got, strict=True), strict=True):
        if w[0].dtype.kind != "f":
            continue
        if any(differs(b, a).any() for a, b in zip(w, g, strict=True)):
            return inf
        masked = [
            (without(a, ~np.isfinite(a)), without(b, ~np.isfinite(a)))
            for a, b in zip(w, g, strict=True)
        ]
        with np.errstate(over="ignore"):
            signal = sum(float((a**2).sum()) for a, _ in masked)
            error = sum(float(((a - b) ** 2).sum()) for a, b in masked)
        worst = max(worst, error / (signal or 1.0))
    return worst if np.isfinite(worst) else inf
