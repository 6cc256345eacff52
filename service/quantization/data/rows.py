"""The calibration, validation and test split of a search's rows.

A row is one request: its arrays in the signature's order, each with a first axis of 1. Or it is a
run, whose arrays are unchanged. Rows may differ in length, as texts do; rows of one shape are
stored together.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.core.errors import ConfigError
from service.core.tensors import Array, Arrays, Signature
from service.quantization.data.labels import apart, flat, varies
from service.quantization.data.runs import too_few

FEWEST = 16
"""The minimum number of rows for meaningful ranges and scores."""
SPARE = 64
"""The minimum number of rows, after calibration, for a test split: a quarter of fewer rows is not
meaningful."""
MOST_CALIBRATION = 128


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows with their labels [rows, ...] or array of arrays (see ``labels``), None if unknown.

    ``notes`` describe conversions, for the report. ``by_run`` is True for runs, which are neither
    split nor batched. ``numbers`` contains the index of each row in the data, from 0.
    """

    feeds: tuple[Arrays, ...]
    labels: Array | None = None
    notes: tuple[str, ...] = ()
    by_run: bool = False
    numbers: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.feeds)

    def take(self, chosen: Sequence[int] | Array) -> "Rows":
        """Return the rows at the given indices, in that order."""
        feeds = tuple(self.feeds[int(i)] for i in chosen)
        labels = None if self.labels is None else self.labels[np.asarray(chosen)]
        numbers = tuple(self.number(int(i)) for i in chosen)
        return Rows(feeds, labels, by_run=self.by_run, numbers=numbers)

    def number(self, place: int) -> int:
        """Return the index of a row in the data."""
        return self.numbers[place] if self.numbers else place


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Disjoint rows: ``calibration`` for activation ranges, ``evaluation`` to choose the winner,
    ``confirmation`` as the test split, on which the winner must pass too. The test split may be
    empty."""

    calibration: Rows
    evaluation: Rows
    confirmation: Rows


def split(rows: Rows, seed: int, most: int, calibration: Rows | None = None) -> Split:
    """Shuffle and split rows. A quarter (at most 128) is for calibration. Of the other rows, three
    quarters are for evaluation and one quarter is for confirmation (at most ``most`` rows each).

    If ``calibration`` is given, it is used instead, and all ``rows`` are for evaluation and
    confirmation.

    Raises:
        ConfigError: there are too few rows, or all labels are equal.
    """
    if rows.by_run and len(rows) < FEWEST:
        raise ConfigError(too_few(rows.feeds, FEWEST))
    if len(rows) < FEWEST:
        raise ConfigError(
            f"the data has {len(rows)} rows; at least {FEWEST} are needed, a few hundred are better"
        )
    order = np.random.default_rng(seed).permutation(len(rows))
    cut = 0 if calibration else min(MOST_CALIBRATION, len(rows) // 4)
    left = order[cut:]
    chosen = min(most, len(left) - len(left) // 4) if len(left) >= SPARE else len(left)
    evaluation, confirmation = rows.take(left[:chosen]), rows.take(left[chosen:][:most])
    if evaluation.labels is not None and len(values := np.unique(flat(evaluation.labels))) == 1:
        raise ConfigError(
            f"all labels of the evaluation rows are {values[0]}: a model that always "
            "predicts this would score 100 %; give rows of every class"
        )
    if calibration:
        few = np.random.default_rng(seed).permutation(len(calibration))[:MOST_CALIBRATION]
        return Split(calibration.take(few), evaluation, confirmation)
    return Split(rows.take(order[:cut]), evaluation, confirmation)


def rows_of(feed: Mapping[str, Array], signature: Signature, place: int) -> list[Arrays]:
    """Return the rows of one feed, with arrays in the signature's order. ``place`` is the index of
    the first row in the data, for errors.

    Arrays may hold several rows, or one row without its first axis.

    Raises:
        ConfigError: a name, shape or dtype does not fit, or a value is NaN.
    """
    arrays = tuple(_fit(feed, index, signature, place) for index in _each(signature))
    count = len(arrays[0])
    if any(len(array) != count for array in arrays):
        lengths = ", ".join(
            f'"{s.name}" {len(a)}' for s, a in zip(signature.inputs, arrays, strict=True)
        )
        raise ConfigError(f"the inputs differ in their number of rows: {lengths}")
    return [tuple(array[i : i + 1] for array in arrays) for i in range(count)]


def _each(signature: Signature) -> range:
    return range(len(signature.inputs))


def _fit(feed: Mapping[str, Array], index: int, signature: Signature, place: int) -> Array:
    spec = signature.inputs[index]
    if spec.name not in feed:
        has = ", ".join(f'"{name}"' for name in feed) or "nothing"
        raise ConfigError(
            f'the data has no array "{spec.name}" (the model takes {spec}); has {has}'
        )
    array = np.asarray(feed[spec.name])
    if array.ndim == len(spec.shape) - 1:
        array = array[None]
    want = spec.datatype.dtype
    if array.dtype != want and spec.datatype.name != "BYTES":
        raise ConfigError(f'data "{spec.name}": the model takes {spec}, got {array.dtype}')
    fits = array.ndim == len(spec.shape) and all(
        got == dim for got, dim in zip(array.shape[1:], spec.shape[1:], strict=True)
        if isinstance(dim, int)
    )  # fmt: skip
    if not fits:
        raise ConfigError(f'data "{spec.name}": the model takes {spec}, got {list(array.shape)}')
    _check_numbers(array, spec.name, place)
    return array.astype(object) if array.dtype.kind in "US" else array


def infinite_rows(rows: Sequence[Arrays], signature: Signature) -> tuple[str, ...]:
    """Return notes on inputs that contain infinity, either a mask or an undetected overflow."""
    notes = []
    for index, spec in enumerate(signature.inputs):
        arrays = [row[index] for row in rows]
        places = [i for i, a in enumerate(arrays) if a.dtype.kind == "f" and np.isinf(a).any()]
        if places:
            notes.append(
                f'data "{spec.name}" holds infinity in {len(places)} of {len(rows)} rows, first in '
                f"row {places[0]}."
            )
    return tuple(notes)


def _check_numbers(array: Array, name: str, place: int) -> None:
    if array.dtype.kind != "f" or not array.size:
        return
    bad = np.isnan(array.reshape(len(array), -1)).any(axis=1)
    if bad.any():
        raise ConfigError(
            f'data "{name}": row {place + int(bad.argmax())} holds NaN '
            f"({int(bad.sum())} such rows); clean the data first"
        )


def groups(feeds: Sequence[Arrays]) -> Iterator[list[int]]:
    """Yield the indices of the rows of each shape."""
    places: dict[tuple[tuple[int, ...], ...], list[int]] = defaultdict(list)
    for place, row in enumerate(feeds):
        places[tuple(array.shape for array in row)].append(place)
    yield from places.values()


def save_rows(rows: Rows, path: Path) -> None:
    """Write rows for the workers, without pickle."""
    numbers = np.array([rows.number(place) for place in range(len(rows))], np.int64)
    arrays: dict[str, Array] = {"by_run": np.array(rows.by_run), "numbers": numbers}
    for number, places in enumerate(groups(rows.feeds)):
        arrays[f"places/{number}"] = np.array(places)
        for index, column in enumerate(zip(*(rows.feeds[i] for i in places), strict=True)):
            stacked = np.stack(column)
            text = stacked.astype(np.str_) if stacked.dtype == object else stacked
            arrays[f"rows/{number}/{index}"] = text
    if rows.labels is not None:
        arrays["labels"] = flat(rows.labels)
        if varies(rows.labels):
            arrays["labels/ends"] = np.cumsum([len(each) for each in rows.labels])
    np.savez(path, allow_pickle=False, **arrays)


def load_rows(path: Path) -> Rows:
    """Read the file that ``save_rows`` wrote."""
    found: dict[int, Arrays] = {}
    with np.load(path, allow_pickle=False) as archive:
        number = 0
        while f"places/{number}" in archive:
            places = archive[f"places/{number}"]
            columns: list[Array] = []
            while f"rows/{number}/{len(columns)}" in archive:
                column = archive[f"rows/{number}/{len(columns)}"]
                columns.append(column.astype(object) if column.dtype.kind == "U" else column)
            for i, place in enumerate(places):
                # Indexing with an ellipsis returns an array for a scalar too.
                found[int(place)] = tuple(column[i, ...] for column in columns)
            number += 1
        labels = archive.get("labels")
        if "labels/ends" in archive:
            labels = apart(np.split(labels, archive["labels/ends"][:-1]))
        by_run, numbers = bool(archive["by_run"]), tuple(archive["numbers"].tolist())
    return Rows(tuple(found[i] for i in range(len(found))), labels, (), by_run, numbers)
