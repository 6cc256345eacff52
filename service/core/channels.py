"""Finds output channels that are nearly constant although they vary in the reference. Pure.

The gate uses this rule with few golden rows, the search of `quantize` with all evaluation rows. So
a model that the search publishes passes the gate.
"""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from service.core.non_finite import without
from service.core.tensors import Array

STILL = 0.05
"""A channel is nearly constant if it keeps less than this share of its standard deviation."""
MOVES = 1e-4
"""A channel varies if its standard deviation is more than this share of its largest value."""
LIKELY = 0.01
"""A channel of probabilities varies if its standard deviation also reaches this; most channels
never reach it."""
SEVERAL = 4
"""The number of values, or half of all values if that is less, that must differ from the mean by at
least half the standard deviation. If fewer do, a few rows may lose them by chance."""
FLOOR = 1e-30
MOST = 1e140


class Still(NamedTuple):
    """For each channel, ``moves``: it varies in the reference; ``lost``: it varies there, and is
    nearly constant in the compared output."""

    moves: Array
    lost: Array


def by_channel(arrays: Sequence[Array]) -> Array:
    """Return arrays that have rows in their first axis as one array [values, channels] in float64.
    The channels are axis 1 of images [n, c, h, w], else the last axis. If the number of channels
    differs between the arrays, all values are one channel."""
    flat = []
    for array in map(np.atleast_1d, arrays):
        moved = np.moveaxis(array, 1, -1) if array.ndim == 4 else array
        flat.append(moved.reshape(prod(moved.shape[:-1]), moved.shape[-1]))
    if len({array.shape[1] for array in flat}) > 1:
        flat = [array.reshape(-1, 1) for array in flat]
    return np.concatenate(flat).astype(np.float64)


def are_probabilities(values: Array) -> bool:
    """Return whether the channels of [values, channels] add up to 1."""
    rows = values[np.isfinite(values).all(axis=1)]
    with np.errstate(over="ignore"):
        return rows.shape[1] > 1 and len(rows) > 0 and np.allclose(rows.sum(1), 1, atol=1e-3)


def comparable(reference: Array, got: Array) -> tuple[Array, Array]:
    """Replace the elements that are not finite in either array [values, channels] by the mean of
    their channel, so that they count neither as variation nor as a difference."""
    special = ~(np.isfinite(reference) & np.isfinite(got))
    if not special.any():
        return reference, got
    count = np.maximum(1, (~special).sum(axis=0))
    first, second = (
        without(each, special, (without(each, special) / count).sum(axis=0))
        for each in (reference, got)
    )
    return first, second


def stand_still(reference: Array, got: Array, probabilities: bool) -> Still:
    """Compare each channel of ``got`` [values, channels] with the reference. All values must be
    finite."""
    unit = units(reference)
    want, kept = reference / unit, within_double(got, unit).std(axis=0)
    deviation = want.std(axis=0)
    moves = (deviation > MOVES * np.abs(want).max(axis=0, initial=0.0)) & (deviation > FLOOR / unit)
    if probabilities:
        moves &= deviation * unit >= LIKELY
    off = np.abs(want - want.mean(axis=0)) >= deviation / 2
    several = np.count_nonzero(off, axis=0) >= min(SEVERAL, len(want) / 2)
    return Still(moves, moves & several & (kept < STILL * deviation))


def units(reference: Array) -> Array:
    """Return the largest absolute value of each channel, 1 for a channel of zeros. Channels are
    compared in these units, because the squares of values over 1e154 overflow."""
    largest = np.abs(reference).max(axis=0, initial=0.0)
    return np.where(largest > FLOOR, largest, 1.0)


def within_double(values: Array, unit: float | Array) -> Array:
    """Divide the values by the unit, and clip them to values that can be squared and summed."""
    with np.errstate(over="ignore"):
        return np.clip(values / unit, -MOST, MOST)
