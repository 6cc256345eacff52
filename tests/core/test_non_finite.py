"""Arrays with NaN and infinity are compared by position, sign and value, without a warning."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.core.non_finite import (
    differs,
    equal,
    first_place,
    magnitude,
    ranked,
    spread,
    without,
)

NAN, INF = math.nan, math.inf
FLOATS = st.sampled_from([NAN, INF, -INF, 0.0, -1.5, 2.0, 3e38])
COLUMNS = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 4), st.integers(1, 4)), elements=FLOATS
)


def row(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_nan_equals_nan_at_the_same_place() -> None:
    found = equal(row(NAN, NAN, INF, INF, 1), row(NAN, 1, INF, -INF, 1))
    assert found.tolist() == [True, False, True, False, True]
    assert equal(np.array([1, 2]), np.array([1, 3])).tolist() == [True, False]


def test_nans_with_different_bits_are_equal() -> None:
    quiet, other = np.array([0x7FC00000, 0xFFC00001], np.uint32).view(np.float32)
    assert equal(row(quiet), row(other)).all()


def test_two_numbers_never_differ_and_a_number_differs_from_nan() -> None:
    found = differs(row(1, NAN, 1, INF, -INF, NAN), row(2, 1, INF, INF, INF, NAN))
    assert found.tolist() == [False, True, True, False, True, False]


@given(COLUMNS, st.data())
def test_an_element_is_the_same_or_differs_or_is_two_numbers(
    one: np.ndarray, data: st.DataObject
) -> None:
    other = data.draw(arrays.arrays(one.dtype, one.shape, elements=FLOATS))
    numbers = np.isfinite(one) & np.isfinite(other)
    same, different = equal(one, other), differs(one, other)
    assert not (same & different).any()
    assert (same | different | numbers).all()
    assert (differs(other, one) == different).all()


def test_without_replaces_values_in_a_copy() -> None:
    array = row(NAN, 2)
    found = without(array, np.isnan(array), -1.0)
    assert found.dtype == np.float64 and found.tolist() == [-1.0, 2.0]
    assert np.isnan(array[0])


def test_nan_is_ranked_last() -> None:
    assert np.argmax(ranked(row(NAN, -3, -2))) == 2
    assert np.argmax(ranked(row(NAN, -INF, 0))) == 2


def test_the_first_element_that_differs_is_named() -> None:
    got, reference = np.array([[1, 2], [3, INF]]), np.array([[1, 2], [3, 4.0]])
    assert first_place(got != reference, got, reference) == "[1, 1] is inf instead of 4"


@given(COLUMNS)
def test_the_spread_is_that_of_the_finite_values(columns: np.ndarray) -> None:
    for found, column in zip(spread(columns), columns.T, strict=True):
        finite = [float(value) for value in column if math.isfinite(value)]
        expected = max(finite) - min(finite) if finite else 0.0
        assert found == np.float64(expected).astype(np.float32) or found == pytest.approx(expected)


def test_a_spread_past_the_datatype_is_infinite() -> None:
    assert spread(row(3e38, -3e38).reshape(2, 1)).tolist() == [INF]


@pytest.mark.parametrize(
    ("values", "expected"),
    [((-3, 2, NAN), 3), ((INF, 0.5), 0.5), ((0, 0), 1), ((NAN, -INF), 1), ((), 1)],
)
def test_the_magnitude_is_the_largest_finite_value_and_never_zero(
    values: tuple[float, ...], expected: float
) -> None:
    assert magnitude(row(*values)) == expected
    assert isinstance(magnitude(row(*values)), float)
