"""The noise of answers is that of the worst output, over all rows."""

from math import inf

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.quantization.evaluate.noise import noise


@given(st.floats(0.001, 1.0))
def test_noise_is_the_ratio_of_powers(error: float) -> None:
    want = [(np.array([3.0, 4.0]),), (np.array([0.0, 5.0]),)]
    got = [(want[0][0] + [error, 0.0],), want[1]]
    assert np.isclose(noise(want, got), error**2 / 50)


def test_the_worst_output_counts_and_texts_do_not() -> None:
    want = [(np.array([1.0]), np.array([1.0]), np.array(["a"]))]
    got = [(np.array([1.0]), np.array([2.0]), np.array(["b"]))]
    assert noise(want, got) == 1.0


def test_equal_masks_are_no_noise_and_different_masks_are_full_noise() -> None:
    masked = [(np.array([1.0, -inf]),)]
    assert noise(masked, masked) == 0.0
    assert noise(masked, [(np.array([1.0, 0.0]),)]) == inf
