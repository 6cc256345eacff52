"""The gate's figures, from arrays; what is lost is found though the average hides it."""

import numpy as np
import pytest

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
def test_figures_are_compared_with_what_is_required(
    got: Array, tolerance: Tolerance, measure: str, measured: float, passed: bool
) -> None:
    (check,) = judge(got, tolerance)
    assert (check.measure, check.passed) == (measure, passed)
    assert check.measured == pytest.approx(measured, rel=1e-4)


def test_one_lost_row_fails_though_the_average_is_good() -> None:
    got = REFERENCE.copy()
    got[7] = REFERENCE[7] * -1
    (check,) = judge(got, Tolerance(min_cosine=0.9))
    assert not check.passed and check.measured == pytest.approx(-1)


def test_rows_of_one_number_are_taken_together() -> None:
    wanted = np.array([[1.0], [-2.0], [3.0]])
    assert worst_cosine(wanted * 0.9, wanted) == pytest.approx(1)
    assert worst_cosine(wanted[::-1], wanted) < 0.8


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_passes_no_tolerance(value: float) -> None:
    (check,) = judge(changed(0, 0, value), Tolerance())
    assert not check.passed and "not finite" in check.measure and check.measured == 1


def test_a_column_that_stands_still_is_found() -> None:
    got = REFERENCE.copy()
    got[:, 4] = 0
    (check,) = judge(got, Tolerance(min_cosine=0.5))
    assert not check.passed and "same in every row" in check.measure and check.measured == 1


def test_a_column_that_stands_still_in_the_reference_too_is_not_missed() -> None:
    wanted = REFERENCE.copy()
    wanted[:, 4] = 0
    assert [
        c.passed for c in compare("y", wanted, wanted, None, Tolerance(min_cosine=1 - 1e-6))
    ] == [True]


def test_accuracy_is_against_labels() -> None:
    wrong = REFERENCE.copy()
    wrong[:8] = np.roll(wrong[:8], 1, axis=1)
    (check,) = judge(wrong, Tolerance(min_accuracy=0.8), LABELS)
    assert check.measured == 0.75 and not check.passed
    assert str(check) == 'golden: accuracy of output "y" is 0.75, required at least 0.8'


def test_accuracy_without_labels_says_what_is_missing() -> None:
    (check,) = judge(REFERENCE, Tolerance(min_accuracy=0.8))
    assert not check.passed and (check.measured, check.required) == ("not there", "[32]")


def test_another_shape_fails_before_anything_is_compared() -> None:
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


def test_where_nothing_is_said_quantization_passes_and_ruin_does_not() -> None:
    tolerance = default_tolerance(REFERENCE)
    step = np.float32(1 / 127)
    assert all(c.passed for c in judge(np.round(REFERENCE / step) * step, tolerance))
    assert not all(c.passed for c in judge(REFERENCE * 0.1, tolerance))
    assert not all(c.passed for c in judge(rng.permutation(REFERENCE), tolerance))


def spec(name: str, *shape: int | str, kind: str = "FP32") -> TensorSpec:
    return TensorSpec(name, DATATYPES[kind], shape)


LIVE = Signature((spec("x", 1, 4),), (spec("y", 1, 3),))


def test_the_check_of_the_signature_says_what_changed() -> None:
    same = signature_check(compare_signatures(LIVE, LIVE))
    assert same.passed and same.measured == "the same"
    wider = Signature((spec("x", "n", 4),), (spec("y", "n", 3), spec("z", "n")))
    check = signature_check(compare_signatures(LIVE, wider))
    assert check.passed and str(check.measured) == (
        'compatible: input "x" FP32 [-1, 4] took FP32 [1, 4], output "y" FP32 [-1, 3] was'
        ' FP32 [1, 3], new output "z" FP32 [-1], V1 still answers "y" alone'
    )


def test_a_refused_signature_says_what_requests_rely_on() -> None:
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


def test_of_answers_without_elements_the_shape_is_compared() -> None:
    for shape in ((0, 4), (5, 0)):
        nothing = np.zeros(shape, np.float32)
        (check,) = compare("y", nothing, nothing, None, Tolerance(min_cosine=1.0))
        assert (check.measure, check.passed) == ("shape", True)
        (check,) = compare("y", np.zeros((5, 4), np.float32), nothing, None, Tolerance())
        assert not check.passed
