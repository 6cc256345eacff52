"""How far answers are from those that they should be, as noise over signal."""

from collections.abc import Sequence
from math import inf

import numpy as np

from service.core.non_finite import differs, without
from service.core.tensors import Arrays


def noise(want: Sequence[Arrays], got: Sequence[Arrays]) -> float:
    """Noise over signal at the worst output, over rows; infinite where only one is finite.

    Outputs of integers or texts do not count.
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
