"""Comparison of arrays that hold NaN and infinity, as masked logits do: those by equality at the
same place, the rest by value. Pure.
"""

import numpy as np

from service.core.tensors import Array


def equal(got: Array, reference: Array) -> Array:
    """Where elements are the same; NaN equals NaN, with any bits."""
    same = np.asarray(got == reference)
    if reference.dtype.kind == "f":
        same |= np.isnan(got) & np.isnan(reference)
    return same


def differs(got: Array, reference: Array) -> Array:
    """Where one is not finite and the other is not the same: another sign, NaN or a number. Both
    are floats of one shape."""
    special = ~(np.isfinite(got) & np.isfinite(reference))
    return np.asarray(special & ~equal(got, reference))


def without(array: Array, place: Array, value: float | Array = 0.0) -> Array:
    """A copy in float64 with a value where ``place`` is true."""
    return np.where(place, value, array.astype(np.float64))


def ranked(array: Array) -> Array:
    """For argmax: NaN comes last, not first."""
    return np.where(np.isnan(array), -np.inf, array)


def first_place(differing: Array, got: Array, reference: Array) -> str:
    """The first element that differs, for people.

    >>> first_place(np.array([False, True]), np.array([1.0, np.nan]), np.array([1.0, 0.5]))
    '[1] is nan instead of 0.5'
    """
    place = tuple(int(i) for i in np.unravel_index(int(np.argmax(differing)), differing.shape))
    return f"{list(place)} is {float(got[place]):.4g} instead of {float(reference[place]):.4g}"


def spread(columns: Array) -> Array:
    """The largest less the smallest finite value of each column [rows, columns]; 0 for none."""
    finite = np.isfinite(columns)
    high = np.where(finite, columns, -np.inf).max(axis=0)
    low = np.where(finite, columns, np.inf).min(axis=0)
    none = ~finite.any(axis=0)
    high[none] = low[none] = 0.0
    with np.errstate(over="ignore"):
        return np.asarray(high - low)


def magnitude(array: Array) -> float:
    """The largest absolute value among the finite ones; 1 where there is none but zeros."""
    return float(np.abs(array[np.isfinite(array)].astype(np.float64)).max(initial=0.0)) or 1.0
