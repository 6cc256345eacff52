"""Channels of an output that are constant although the reference varies."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from service.core.channels import (
    SEVERAL,
    are_probabilities,
    by_channel,
    comparable,
    stand_still,
)
from service.core.gate import Tolerance, compare

RANDOM = np.random.default_rng(1)
ROWS = RANDOM.normal(size=(200, 5))
FINITE = st.floats(-1e300, 1e300)


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([(1, 5), (1, 5)], (2, 5)),
        ([(1, 7, 5)], (7, 5)),
        ([(2, 3, 4, 4)], (32, 3)),
        ([(1, 3), (1, 4)], (7, 1)),
        ([()], (1, 1)),
    ],
)
def test_by_channel_returns_rows_by_channel(
    shapes: list[tuple[int, ...]], expected: tuple[int, ...]
) -> None:
    assert by_channel([np.zeros(shape) for shape in shapes]).shape == expected


def test_a_channel_of_a_picture_keeps_its_values() -> None:
    picture = RANDOM.normal(size=(2, 3, 4, 4))
    assert np.array_equal(by_channel([picture])[:, 1], picture[:, 1].ravel())


def test_a_constant_channel_is_lost() -> None:
    got = ROWS.copy()
    got[:, 2] = ROWS[:, 2].mean() + ROWS[:, 2] * 0.04
    still = stand_still(ROWS, got, probabilities=False)
    assert still.moves.all() and still.lost.tolist() == [False, False, True, False, False]


def test_small_scores_beside_large_coordinates_are_not_overlooked() -> None:
    """A detector's boxes are hundreds of pixels, its scores parts of one."""
    want = np.hstack([ROWS * 300, np.abs(ROWS) / 10])
    got = want.copy()
    got[:, 7] = 0.0
    assert stand_still(want, got, False).lost.tolist() == [column == 7 for column in range(10)]


def test_a_nearly_constant_channel_is_not_counted_as_lost() -> None:
    want = ROWS.copy()
    want[:, 2] = 1000 + ROWS[:, 2] / 100
    got = want.copy()
    got[:, 2] = 1000
    assert not stand_still(want, got, False).lost.any()


def test_an_unlikely_class_is_not_counted_as_lost() -> None:
    want = np.tile([0.999, 0.001], (50, 1)) + np.outer(RANDOM.normal(size=50), [1e-4, -1e-4])
    assert are_probabilities(want) and not are_probabilities(ROWS)
    got = want.copy()
    got[:, 1] = 0.0
    assert not stand_still(want, got, True).lost.any()
    assert stand_still(want, got, False).lost.tolist() == [False, True]


@pytest.mark.parametrize(("moving", "lost"), [(SEVERAL - 1, False), (SEVERAL, True)])
def test_values_of_a_few_rows_may_be_equal_by_chance(moving: int, lost: bool) -> None:
    want = np.zeros((32, 1))
    want[:moving] = 1
    assert stand_still(want, np.zeros_like(want), False).lost.tolist() == [lost]


def test_two_rows_are_enough_if_there_are_no_more() -> None:
    want = np.array([[0.0], [1.0]])
    assert stand_still(want, np.zeros_like(want), False).lost.tolist() == [True]


@given(arrays(np.float64, (40, 3), elements=FINITE))
def test_an_output_compared_with_itself_loses_no_channel(want: np.ndarray) -> None:
    assert not stand_still(want, want, False).lost.any()


@given(
    arrays(np.float64, (40, 2), elements=st.floats(-10, 10)),
    arrays(np.bool_, (40, 2)),
)
def test_non_finite_values_neither_vary_nor_differ(want: np.ndarray, masked: np.ndarray) -> None:
    hidden = np.where(masked, -np.inf, want)
    first, second = comparable(hidden, hidden)
    assert np.isfinite(first).all() and np.array_equal(first, second)
    assert not stand_still(first, second, False).lost.any()


@given(
    st.integers(0, 2**32 - 1),
    st.integers(8, 64),
    st.floats(0.001, 4),
    st.floats(0.3, 10),
)
def test_a_channel_kept_in_all_rows_is_kept_in_a_subset(
    seed: int, levels: int, scale: float, width: float
) -> None:
    """Outputs of a quantized model, which have so many levels: where the search finds no channel
    lost in all rows, the gate finds none in the 32 that it has. A level is at most a quarter of the
    range of each channel: of one with fewer, few rows may differ, and by chance none of the 32."""
    random = np.random.default_rng(seed)
    want = random.normal(size=(300, 6)) * random.uniform(width / 10, width, 6)
    step = np.abs(want).max() / levels * scale / 4
    assume((step <= np.ptp(want, axis=0) / 4).all())
    got = np.round(want / step) * step
    if stand_still(want, got, False).lost.any():
        return
    checks = compare("y", got[:32], want[:32], None, Tolerance())
    assert not [check for check in checks if check.measure.startswith("channels")]
