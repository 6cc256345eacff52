"""Finds the labels of rows or runs by name, checks and concatenates them."""

from collections.abc import Mapping, Sequence

import numpy as np

from service.core.errors import ConfigError
from service.core.tensors import Array, Signature

LABELS = ("labels", "label", "y")
"""Default names of labels."""

Feed = Mapping[str, Array]


def label_key(feed: Feed, signature: Signature, asked: str | None) -> str | None:
    """Return the name of the labels; None if there are none.

    Raises:
        ConfigError: the data has no labels with the name ``asked``.
    """
    if asked is not None and asked not in feed:
        has = ", ".join(f'"{name}"' for name in feed)
        raise ConfigError(f'the data has no labels "{asked}"; it has {has}')
    taken = {tensor.name for tensor in signature.inputs}
    return asked or next((name for name in LABELS if name in feed and name not in taken), None)


def labels_of_rows(feeds: Sequence[Feed], key: str, rows: int) -> Array:
    """Return labels [rows, ...]. If each feed is one row, its labels may omit the first axis.

    Raises:
        ConfigError: labels are missing, or their number or shapes do not match.
    """
    found = _found(feeds, key)
    if len(feeds) == rows:
        found = [array if array.shape[:1] == (1,) else array[None] for array in found]
    found = [np.atleast_1d(array) for array in found]
    shapes = sorted({array.shape[1:] for array in found})
    if len(shapes) > 1:
        raise ConfigError(
            f'labels "{key}" have several shapes, such as {list(shapes[0])} and '
            f"{list(shapes[1])} for a row; they must have one"
        )
    return _checked(np.concatenate(found), key, rows)


def labels_of_runs(feeds: Sequence[Feed], key: str) -> Array:
    """Return labels [runs, ...]; an array of arrays [elements] if runs have different numbers of
    labels.

    Raises:
        ConfigError: some runs have no labels.
    """
    found = [array[0] if array.shape[:1] == (1,) else array for array in _found(feeds, key)]
    if len({array.shape for array in found}) == 1:
        return _checked(np.stack(found), key, len(feeds))
    _checked(np.concatenate([array.ravel() for array in found]), key, None)
    return apart([array.ravel() for array in found])


def apart(arrays: Sequence[Array]) -> Array:
    """Return an array of arrays (dtype object), which may have different shapes."""
    found = np.empty(len(arrays), dtype=object)
    for place, array in enumerate(arrays):
        found[place] = array
    return found


def varies(labels: Array) -> bool:
    """Return True if runs have different numbers of labels."""
    return labels.dtype == object


def flat(labels: Array) -> Array:
    """Return all labels in one array: [rows, ...] unchanged, labels of runs concatenated."""
    return np.concatenate(list(labels)) if varies(labels) else labels


def _found(feeds: Sequence[Feed], key: str) -> list[Array]:
    missing = sum(key not in feed for feed in feeds)
    if missing:
        raise ConfigError(f'{missing} of {len(feeds)} parts of the data have no labels "{key}"')
    return [np.asarray(feed[key]) for feed in feeds]


def _checked(labels: Array, key: str, rows: int | None) -> Array:
    if labels.size == len(labels):
        labels = labels.reshape(-1)
    if rows is not None and len(labels) != rows:
        raise ConfigError(f'there are {len(labels)} labels "{key}" for {rows} rows')
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ConfigError(f'labels "{key}" hold NaN or infinity')
    return labels
