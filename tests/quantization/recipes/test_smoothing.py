"""Factors that move outliers from activations to weights."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.quantization.recipes.smoothing import WIDEST, factors, load_peaks, peaks_of, save_peaks
from tests.quantization.recipes.test_per_row import WIDTH, network, rows


def test_an_outlier_shrinks_and_its_weights_grow() -> None:
    peaks = np.array([1.0, 100.0, 1.0], np.float32)
    found = factors(peaks, [np.ones((3, 4), np.float32)])
    assert found is not None
    assert found[1] == pytest.approx(found[0] / 10)
    assert np.log(found).mean() == pytest.approx(0, abs=1e-6)


@example([0.0, 2.0**-149], 1.0)
@given(
    st.lists(st.floats(0, 2.0**99, width=32), min_size=1, max_size=9),
    st.floats(0, 2.0**99, width=32),
)
def test_factors_are_finite_and_bounded(peaks: list[float], weight: float) -> None:
    given = np.array(peaks, np.float32)
    found = factors(given, [np.full((len(peaks), 2), weight, np.float32)])
    if found is None:
        assert not given.any()
    else:
        assert ((found >= 0.99 / WIDEST) & (found <= 1.01 * WIDEST)).all()


@pytest.mark.parametrize("weight", [np.inf, np.nan])
def test_weights_that_are_not_finite_are_not_smoothed(weight: float) -> None:
    assert factors(np.ones(3, np.float32), [np.full((3, 2), weight, np.float32)]) is None


@pytest.mark.parametrize("peak", [0.0, np.inf, np.nan])
def test_without_usable_peaks_there_are_no_factors(peak: float) -> None:
    assert factors(np.full(3, peak, np.float32), [np.ones((3, 2), np.float32)]) is None


def test_peaks_weigh_all_finite_rows_equally() -> None:
    x = rows(6)
    names = ["x", "r"]
    found = peaks_of(network(), names, [{"x": row[None]} for row in x])
    assert sorted(found) == ["r", "x"]
    grown = peaks_of(network(), ["x"], [{"x": row[None] * 1e6} for row in x])
    np.testing.assert_allclose(grown["x"], found["x"], rtol=1e-5)
    with_nan = np.concatenate([x, np.full((1, WIDTH), np.nan, np.float32), 0 * x[:1]])
    np.testing.assert_allclose(peaks_of(network(), ["x"], [{"x": with_nan}])["x"], found["x"])


def test_peaks_can_be_saved_and_loaded(tmp_path: Path) -> None:
    path = tmp_path / "peaks.npz"
    assert load_peaks(path) is None
    save_peaks({"/a/b": np.ones(2), "c": np.zeros(3)}, path)
    found = load_peaks(path)
    assert found is not None
    assert {name: values.shape for name, values in found.items()} == {"/a/b": (2,), "c": (3,)}
