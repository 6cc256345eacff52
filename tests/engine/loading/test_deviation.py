"""The deviation of answers does not depend on their unit, and compares labels for equality."""

from math import inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.tensors import DATATYPES, Array, TensorSpec
from service.engine.loading.deviation import Comparison


def apart(want: object, got: object, datatype: str = "FP32", examples: object = None) -> float:
    spec = TensorSpec("y", DATATYPES[datatype], ("batch",))
    dtype = DATATYPES[datatype].dtype

    def array(values: object) -> Array:
        return np.array(values, dtype)

    comparison = Comparison([spec], [(array(want if examples is None else examples),)])
    return comparison.largest([(array(want),)], [(array(got),)])


CASES = [
    ("the same", [1.0, 2.0], [1.0, 2.0], 0.0),
    ("a share of the largest value", [1.0, -10.0], [2.0, -10.0], 0.1),
    ("zeros have no size", [0.0, 0.0], [0.5, 0.0], 0.5),
    ("not a number, in the same place", [nan, 1.0], [nan, 1.0], 0.0),
    ("not a number, in one", [nan, 1.0], [0.0, 1.0], inf),
    ("infinite in both", [inf, 1.0], [inf, 2.0], 1.0),
    ("infinite in both, with another sign", [inf, 1.0], [-inf, 1.0], inf),
    ("nothing but infinities", [-inf, -inf], [-inf, -inf], 0.0),
    ("infinite in one", [1.0, 1.0], [inf, 1.0], inf),
    ("another shape", [1.0, 2.0], [1.0], inf),
]


@pytest.mark.parametrize(("_", "want", "got", "expected"), CASES)
def test_deviation_of_numbers(_: str, want: list[float], got: list[float], expected: float) -> None:
    assert apart(want, got) == expected


@pytest.mark.parametrize("datatype", ["INT32", "INT64", "BOOL", "BYTES"])
def test_labels_are_compared_for_equality(datatype: str) -> None:
    assert apart([0, 1, 1, 0], [0, 1, 0, 0], datatype) == 0.25
    assert apart([0, 1], [0, 1], datatype) == 0


@pytest.mark.parametrize("datatype", ["UINT8", "INT8", "INT16"])
def test_quantized_numbers_are_compared_as_numbers(datatype: str) -> None:
    assert apart([100, 7], [100, 8], datatype) == pytest.approx(0.01)


def test_differences_do_not_overflow() -> None:
    assert apart([100], [-100], "INT8") == 2
    assert apart([60000], [-60000], "FP16") == pytest.approx(2)


def test_the_deviation_of_the_largest_doubles_is_finite() -> None:
    assert apart([1.7e308], [-1.7e308], "FP64") == pytest.approx(2)


def test_bfloat16_is_compared_by_value() -> None:
    one, next_to_one, minus_one = 0x3F80, 0x3F81, 0xBF80
    assert apart([one], [next_to_one], "BF16") == pytest.approx(1 / 128)
    assert apart([one], [minus_one], "BF16") == pytest.approx(2)


def test_each_output_has_its_own_scale() -> None:
    specs = [TensorSpec(name, DATATYPES["FP32"], ("batch",)) for name in "ab"]
    small, large = np.array([1.0], np.float32), np.array([1000.0], np.float32)
    found = Comparison(specs, [(small, large)]).largest([(small, large)], [(small + 1, large)])
    assert found == 1


@given(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=5),
    st.floats(-1e3, 1e3, width=32),
    st.integers(-20, 20),
)
def test_the_deviation_does_not_depend_on_the_unit(
    values: list[float], change: float, power: int
) -> None:
    got = [values[0] + change, *values[1:]]
    unit = 2.0**power
    if any(values):
        scaled = apart([v * unit for v in values], [v * unit for v in got], "FP64")
        assert scaled == pytest.approx(apart(values, got, "FP64"), rel=1e-9)
