"""Comparison of arrays that hold NaN and infinity, for example masked logits. These elements must
be equal at the same position; the others are compared by value. Pure.
"""

import numpy as np

from service.core.tensors import Array


def equal(got: Array, reference: Array) -> Array:
    """Return a mask of the equal elements. NaN equals NaN, with any bits."""
    same = np.asarray(got == reference)
    if reference.dtype.kind == "f":
        same |= np.isnan(got) & np.isnan(reference)
    return same


def differs(got: Array, reference: Array) -> Array:
    """Return a mask of the elements that are not finite in one array and differ in the other:
    another sign, NaN or a number. Both arrays are floats of the same shape."""
    special = ~(np.isfinite(got) & np.isfinite(reference))
    return np.asarray(special & ~equal(got, reference))


def without(array: Array, place: Array, value: float | Array = 0.0) -> Array:
    """Copy to float64, with ``value`` where ``place`` is true."""
    return np.where(place, value, array.astype(np.float64))


def ranked(array: Array) -> Array:
    """Replace NaN by -infinity, so that argmax does not choose NaN."""
    return np.where(np.isnan(array), -np.inf, array)


def first_place(differing: Array, got: Array, reference: Array) -> str:
    """Describe the first element that differs, for people.

    >>> first_place(np.array([False, True]), np.array([1.0, np.nan]), np.array([1.0, 0.5]))
    '[1] is nan instead of 0.5'
    """
    place = tuple(int(i) for i in np.unravel_index(int(np.argmax(differing)), differing.shape))
    return f"{list(place)} is {float(got[place]):.4g} instead of {float(reference[place]):.4g}"


def spread(columns: Array) -> Array:
    """Return the largest minus the smallest finite value of each column of [rows, columns]; 0 if a
    column has no finite value."""
    finite = np.isfinite(columns)
    high = np.where(finite, columns, -np.inf).max(axis=0)
    low = np.where(finite, columns, np.inf).min(axis=0)
    none = ~finite.any(axis=0)
    high[none] = low[none] = 0.0
    with np.errstate(over="ignore"):
        return np.asarray(high - low)


def magnitude(array: Array) -> float:
    """Return the largest absolute value of the finite elements; 1 if all of them are 0."""
    return float(np.abs(array[np.isfinite(array)].astype(np.float64)).max(initial=0.0)) or 1.0
