"""Rows: refusals, and the split, in which calibration and evaluation never share a row."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.errors import ConfigError
from service.core.tensors import DATATYPES, Signature, TensorSpec
from service.quantization.data.rows import (
    Rows,
    infinite_rows,
    load_rows,
    rows_of,
    save_rows,
    split,
)

SIGNATURE = Signature((TensorSpec("x", DATATYPES["FP32"], ("batch", 2)),), ())


def rows(count: int, labels: np.ndarray | None = None) -> Rows:
    values = np.arange(2 * count, dtype=np.float32).reshape(count, 2)
    return Rows(tuple((values[i : i + 1],) for i in range(count)), labels)


@given(st.integers(16, 400), st.integers(0, 5))
def test_calibration_and_evaluation_share_no_rows(count: int, seed: int) -> None:
    parts = split(rows(count), seed, most=1000)
    thirds = (parts.calibration, parts.evaluation, parts.confirmation)
    seen = [float(row[0][0, 0]) for part in thirds for row in part.feeds]
    assert len(seen) == len(set(seen)) == count


def test_a_seed_always_gives_the_same_split() -> None:
    first, again, other = (split(rows(64), seed, 1000).evaluation for seed in (1, 1, 2))
    assert [r[0].tolist() for r in first.feeds] == [r[0].tolist() for r in again.feeds]
    assert [r[0].tolist() for r in first.feeds] != [r[0].tolist() for r in other.feeds]


def test_separate_calibration_rows_leave_all_others_for_evaluation() -> None:
    parts = split(rows(64), 0, 1000, calibration=rows(20))
    assert (len(parts.calibration), len(parts.evaluation), len(parts.confirmation)) == (20, 48, 16)


def test_few_rows_leave_none_for_the_test_and_many_are_limited() -> None:
    few, many = split(rows(64), 0, 1000), split(rows(400), 0, 100)
    assert (len(few.evaluation), len(few.confirmation)) == (48, 0)
    assert (len(many.evaluation), len(many.confirmation)) == (100, 100)


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ConfigError, match="15 rows; at least 16"):
        split(rows(15), 0, 1000)


def test_labels_of_one_class_are_refused() -> None:
    with pytest.raises(ConfigError, match="all labels"):
        split(rows(20, np.zeros(20, np.int64)), 0, 1000)


@pytest.mark.parametrize(
    ("feed", "message"),
    [
        ({"y": np.zeros((4, 2), np.float32)}, 'no array "x" .*FP32 .*has "y"'),
        ({"x": np.zeros((4, 2), np.float64)}, "FP32 .*got float64"),
        ({"x": np.zeros((4, 3), np.float32)}, r"takes FP32 \[-1, 2\], got \[4, 3\]"),
        ({"x": np.array([[1, 2], [np.nan, 1]], np.float32)}, "row 1 holds NaN"),
    ],
)
def test_rows_that_do_not_fit_are_refused_by_name(feed: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        rows_of(feed, SIGNATURE, 0)


def test_infinity_is_accepted_with_a_note() -> None:
    found = rows_of({"x": np.array([[1, 2], [-np.inf, 1]], np.float32)}, SIGNATURE, 0)
    (note,) = infinite_rows(found, SIGNATURE)
    assert note == 'data "x" holds infinity in 1 of 2 rows, first in row 1.'
    assert infinite_rows(found[:1], SIGNATURE) == ()


def test_a_row_may_come_without_its_first_axis() -> None:
    found = rows_of({"x": np.ones(2, np.float32)}, SIGNATURE, 0)
    assert [row[0].shape for row in found] == [(1, 2)]


def test_rows_of_several_lengths_can_be_saved_and_loaded(tmp_path: Path) -> None:
    lengths = [3, 5, 3, 1]
    feeds = tuple((np.full((1, n), i, np.int64),) for i, n in enumerate(lengths))
    save_rows(Rows(feeds, np.arange(4)), tmp_path / "rows.npz")
    found = load_rows(tmp_path / "rows.npz")
    assert [row[0].tolist() for row in found.feeds] == [row[0].tolist() for row in feeds]
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 2, 3]
