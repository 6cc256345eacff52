"""Which channels of an output stand still although those of the reference move. Pure.

One judgement for the gate, with few golden rows, and for the search of `quantize`, with all
evaluation rows: what the search publishes passes the gate.
"""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from service.core.non_finite import without
from service.core.tensors import Array

STILL = 0.05
"""A channel that keeps less than this share of its standard deviation stands still."""
MOVES = 1e-4
"""A channel moves if its standard deviation is more than this share of its largest value."""
LIKELY = 0.01
"""Where channels are probabilities, one moves if its standard deviation reaches this: most never
do."""
SEVERAL = 4
"""Values, or half of all if that is less, that must be off the mean by half the standard deviation.
Of one that is rare, all that a few rows hold may be lost by chance."""
FLOOR = 1e-30
MOST = 1e140


class Still(NamedTuple):
    """For each channel, whether the reference's moves, and whether it stands still all the same."""

    moves: Array
    lost: Array


def by_channel(arrays: Sequence[Array]) -> Array:
    """Arrays with the rows in their first axis as [values, channels] in float64. The channels are
    axis 1 of images [n, c, h, w], else the last axis; all is one channel where their number
    varies."""
    flat = []
    for array in map(np.atleast_1d, arrays):
        moved = np.moveaxis(array, 1, -1) if array.ndim == 4 else array
        flat.append(moved.reshape(prod(moved.shape[:-1]), moved.shape[-1]))
    if len({array.shape[1] for array in flat}) > 1:
        flat = [array.reshape(-1, 1) for array in flat]
    return np.concatenate(flat).astype(np.float64)


def are_probabilities(values: Array) -> bool:
    """Whether the channels [values, channels] add up to 1."""
    rows = values[np.isfinite(values).all(axis=1)]
    with np.errstate(over="ignore"):
        return rows.shape[1] > 1 and len(rows) > 0 and np.allclose(rows.sum(1), 1, atol=1e-3)


def comparable(reference: Array, got: Array) -> tuple[Array, Array]:
    """Both [values, channels] with the mean of their channel in the place of what is not finite in
    either, so that it neither moves the channel nor stands for a difference."""
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
    """Judge each channel of ``got`` [values, channels]. All values are finite."""
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
    """The largest absolute value of each channel, 1 for a channel of zeros. Channels are compared
    in these units: the squares of values over 1e154 overflow."""
    largest = np.abs(reference).max(axis=0, initial=0.0)
    return np.where(largest > FLOOR, largest, 1.0)


def within_double(values: Array, unit: float | Array) -> Array:
    """In a unit, and no larger than what can be squared and summed."""
    with np.errstate(over="ignore"):
        return np.clip(values / unit, -MOST, MOST)
