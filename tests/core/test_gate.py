"""The gate's figures from arrays. They show losses that an average would hide."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.core.checks import Check, failures
from service.core.compatibility import compare_signatures
from service.core.gate import (
    Tolerance,
    compare,
    default_tolerance,
    memory_check,
    signature_check,
    speed_check,
    worst_cosine,
)
from service.core.tensors import DATATYPES, Array, Signature, TensorSpec

rng = np.random.default_rng(0)
REFERENCE = rng.random((32, 10), dtype=np.float32)
LABELS = REFERENCE.argmax(1)


def judge(got: Array, tolerance: Tolerance, labels: Array | None = None) -> list[Check]:
    return compare("y", got, REFERENCE, labels, tolerance)


def changed(row: int, column: int, value: float) -> Array:
    copy = REFERENCE.copy()
    copy[row, column] = value
    return copy


@pytest.mark.parametrize(
    ("got", "tolerance", "measure", "measured", "passed"),
    [
        (REFERENCE + 0.01, Tolerance(max_abs_error=0.02), "absolute error", 0.01, True),
        (REFERENCE + 0.03, Tolerance(max_abs_error=0.02), "absolute error", 0.03, False),
        (REFERENCE * 0.5, Tolerance(max_relative_error=0.4), "relative error", 0.5, False),
        (REFERENCE * 0.5, Tolerance(min_cosine=0.999), "cosine", 1.0, True),
        (REFERENCE, Tolerance(min_top1_agreement=1.0), "top-1 agreement", 1.0, True),
        (
            changed(3, 0, REFERENCE[3, 0] + 1),
            Tolerance(max_abs_error=0.02),
            "absolute error",
            1.0,
            False,
        ),
    ],
)
def test_figures_are_compared_with_the_tolerance(
    got: Array, tolerance: Tolerance, measure: str, measured: float, passed: bool
) -> None:
    (check,) = judge(got, tolerance)
    assert (check.measure, check.passed) == (measure, passed)
    assert check.measured == pytest.approx(measured, rel=1e-4)


def test_one_wrong_row_fails_despite_a_good_average() -> None:
    got = REFERENCE.copy()
    got[7] = REFERENCE[7] * -1
    (check,) = judge(got, Tolerance(min_cosine=0.9))
    assert not check.passed and check.measured == pytest.approx(-1)


def test_rows_of_one_number_are_compared_together() -> None:
    wanted = np.array([[1.0], [-2.0], [3.0]])
    assert worst_cosine(wanted * 0.9, wanted) == pytest.approx(1)
    assert worst_cosine(wanted[::-1], wanted) < 0.8


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_fail_any_tolerance(value: float) -> None:
    (check,) = judge(changed(0, 0, value), Tolerance())
    assert not check.passed and "not finite" in check.measure and check.measured == 1


STRICT = Tolerance(
    max_abs_error=0, max_relative_error=1e-9, min_cosine=1 - 1e-9, min_top1_agreement=1
)
FLOATS = st.sampled_from([np.float16, np.float32, np.float64])
SPECIAL = st.sampled_from([np.nan, np.inf, -np.inf])


@st.composite
def masked(draw: st.DrawFn) -> Array:
    """Return logits of any float datatype; some values, or whole rows, are NaN or infinite."""
    dtype = draw(FLOATS)
    shape = draw(arrays.array_shapes(min_dims=1, max_dims=3, max_side=4))
    elements = st.one_of(SPECIAL, arrays.from_dtype(np.dtype(dtype)))
    found: Array = draw(arrays.arrays(dtype, shape, elements=elements))
    if draw(st.booleans()):
        found[0] = -np.inf
    return found


@given(masked())
def test_every_output_reproduces_itself(array: Array) -> None:
    checks = compare("y", array.copy(), array, None, STRICT)
    assert all(check.passed for check in checks), failures(checks)
    assert all(np.isfinite(check.measured) for check in checks)


@given(masked(), st.data())
def test_another_infinity_or_nan_never_passes(array: Array, data: st.DataObject) -> None:
    got = array.copy()
    place = data.draw(st.integers(0, array.size - 1))
    value = data.draw(st.one_of(SPECIAL, st.just(1.0)))
    got.flat[place] = value
    before = array.flat[place]
    same = value == before or (np.isnan(value) and np.isnan(before))
    checks = compare("y", got, array, None, Tolerance())
    if not same and not (np.isfinite(value) and np.isfinite(before)):
        (check,) = checks
        assert check.measured == 1 and "the first at [" in str(check)


@given(masked(), masked())
def test_figures_are_never_nan_and_no_warning_is_raised(got: Array, reference: Array) -> None:
    for check in compare("y", got, reference, None, STRICT):
        assert isinstance(check.measured, str) or not np.isnan(check.measured)


def test_a_lost_mask_is_reported_with_its_position() -> None:
    wanted = REFERENCE.copy()
    wanted[:, 3:5] = -np.inf
    assert all(c.passed for c in compare("y", wanted, wanted, LABELS, default_tolerance(wanted)))
    got = wanted.copy()
    got[7, 3], got[8, 4], got[9, 0] = -1e9, np.inf, np.nan
    text = failures(compare("y", got, wanted, None, default_tolerance(wanted)))
    assert text == (
        'golden: elements that are not finite of output "y" is 1, required at most 0 (the first at '
        f"[9, 0] is nan instead of {wanted[9, 0]:.4g}); golden: elements that are not the NaN or "
        'infinity of the golden set of output "y" is 2, required at most 0 (the first at [7, 3] is '
        "-1e+09 instead of -inf)"
    )


def test_masked_values_do_not_hide_a_constant_column() -> None:
    wanted = REFERENCE.copy()
    wanted[::2, 4] = -np.inf
    got = wanted.copy()
    got[1::2, 4] = 0.5
    (check,) = compare("y", got, wanted, None, Tolerance())
    assert "same in every row" in check.measure
    got = wanted.copy()
    got[7] = -wanted[7]
    (check,) = compare("y", got, wanted, None, Tolerance(min_cosine=0.9))
    assert check.measured == pytest.approx(-1)


def test_an_overflow_of_half_precision_fails() -> None:
    wanted = np.array([[70000.0, 1.0]], np.float32)
    with np.errstate(over="ignore"):
        got = wanted.astype(np.float16)
    (check,) = compare("y", got, wanted, None, Tolerance())
    assert "inf instead of 7e+04" in str(check)


def test_an_output_without_elements_agrees() -> None:
    for shape in ((0, 3), (3, 0), (0,)):
        empty = np.zeros(shape, np.float32)
        assert all(check.passed for check in compare("y", empty, empty, None, STRICT))
        whole = np.zeros(shape, np.int64)
        (check,) = compare("y", whole, whole, None, default_tolerance(whole))
        assert check.measured == 1


def test_a_constant_column_is_found() -> None:
    got = REFERENCE.copy()
    got[:, 4] = 0
    (check,) = judge(got, Tolerance(min_cosine=0.5))
    assert not check.passed and "same in every row" in check.measure and check.measured == 1


def test_a_column_constant_in_the_reference_too_passes() -> None:
    wanted = REFERENCE.copy()
    wanted[:, 4] = 0
    assert [
        c.passed for c in compare("y", wanted, wanted, None, Tolerance(min_cosine=1 - 1e-6))
    ] == [True]


def test_accuracy_is_compared_with_labels() -> None:
    wrong = REFERENCE.copy()
    wrong[:8] = np.roll(wrong[:8], 1, axis=1)
    (check,) = judge(wrong, Tolerance(min_accuracy=0.8), LABELS)
    assert check.measured == 0.75 and not check.passed
    assert str(check) == 'golden: accuracy of output "y" is 0.75, required at least 0.8'


def test_accuracy_without_labels_names_the_missing_labels() -> None:
    (check,) = judge(REFERENCE, Tolerance(min_accuracy=0.8))
    assert not check.passed and (check.measured, check.required) == ("not there", "[32]")


def test_another_shape_fails_before_values_are_compared() -> None:
    (check,) = judge(REFERENCE[:, :9], Tolerance(max_abs_error=9))
    assert not check.passed and (check.measured, check.required) == ("[32, 9]", "[32, 10]")


def test_integers_are_compared_one_by_one() -> None:
    wanted = np.arange(100).reshape(10, 10)
    got = wanted.copy()
    got[0, :6] = -1
    (check,) = compare("ids", got, wanted, None, default_tolerance(wanted))
    assert check.measured == 0.94 and not check.passed


def test_strings_are_compared() -> None:
    wanted = np.array([["a"], ["b"]], object)
    (check,) = compare("word", wanted.copy(), wanted, None, default_tolerance(wanted))
    assert check.passed


def test_default_tolerance_passes_quantization_and_fails_garbage() -> None:
    tolerance = default_tolerance(REFERENCE)
    step = np.float32(1 / 127)
    assert all(c.passed for c in judge(np.round(REFERENCE / step) * step, tolerance))
    assert not all(c.passed for c in judge(REFERENCE * 0.1, tolerance))
    assert not all(c.passed for c in judge(rng.permutation(REFERENCE), tolerance))


def spec(name: str, *shape: int | str, kind: str = "FP32") -> TensorSpec:
    return TensorSpec(name, DATATYPES[kind], shape)


LIVE = Signature((spec("x", 1, 4),), (spec("y", 1, 3),))


def test_the_signature_check_reports_changes() -> None:
    same = signature_check(compare_signatures(LIVE, LIVE))
    assert same.passed and same.measured == "the same"
    wider = Signature((spec("x", "n", 4),), (spec("y", "n", 3), spec("z", "n")))
    check = signature_check(compare_signatures(LIVE, wider))
    assert check.passed and str(check.measured) == (
        'compatible: input "x" FP32 [-1, 4] was FP32 [1, 4], output "y" FP32 [-1, 3] was'
        ' FP32 [1, 3], new output "z" FP32 [-1], V1 still returns only "y"'
    )


def test_a_refused_signature_names_what_requests_need() -> None:
    check = signature_check(compare_signatures(LIVE, Signature(LIVE.inputs, ())))
    assert not check.passed
    told = 'signature: no output "y" FP32 [1, 3]: requests to the live version would fail'
    assert str(check) == told


def test_memory_and_speed_have_bounds() -> None:
    assert memory_check(100, 100).passed and not memory_check(101, 100).passed
    assert speed_check(1.0, 1.2, 1.5).passed
    slow = speed_check(1.0, 3.0, 1.5)
    text = "speed: time as a multiple of the live version's is 3, required at most 1.5"
    assert failures([slow]) == text
