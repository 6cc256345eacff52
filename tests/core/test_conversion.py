"""Numbers from JSON are converted to the model's datatype or refused, but never changed."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.core.bfloat16 import from_bfloat16, to_bfloat16
from service.core.conversion import MANTISSA, converted
from service.core.datatypes import DATATYPES, Array, Datatype
from service.core.errors import SignatureMismatch
from service.core.tensors import Signature, Tensor, TensorSpec, Written

NUMERIC = [each for each in DATATYPES.values() if each.kind in ("integer", "number")]
FLOATS = {"FP16": np.float16, "FP32": np.float32, "FP64": np.float64}


def numbers(name: str, array: Array) -> list[int | float]:
    """Return the exact values of an array as Python numbers."""
    plain = from_bfloat16(array) if name == "BF16" else array
    return list(plain.ravel().tolist())


@given(st.sampled_from(NUMERIC), st.sampled_from(NUMERIC), st.data())
def test_conversion_keeps_rounds_or_refuses_values(
    one: Datatype, other: Datatype, data: st.DataObject
) -> None:
    elements = arrays.from_dtype(one.dtype) | st.integers(0, 100).map(one.dtype.type)
    array = data.draw(arrays.arrays(one.dtype, (2, 2), elements=elements))
    before = numbers(one.name, array)
    try:
        result = converted("x", one, other, array)
    except SignatureMismatch as error:
        assert any([not fits(one.name, other.name, value) for value in before]), str(error)
        return
    assert (result.dtype, result.shape) == (other.dtype, array.shape)
    for was, now in zip(before, numbers(other.name, result), strict=True):
        assert fits(one.name, other.name, was)
        if other.kind == "integer":
            assert now == was
        elif math.isfinite(was):
            assert close(other.name, was, now)
        else:
            assert now == was or (math.isnan(was) and math.isnan(now))


def fits(one: str, other: str, value: int | float) -> bool:
    """Check whether a number fits another datatype, without numpy's conversions."""
    if DATATYPES[other].kind == "integer":
        if not math.isfinite(value) or value != int(value):
            return False
        limits = np.iinfo(DATATYPES[other].dtype)
        exact = isinstance(value, int) or abs(value) <= 2 ** MANTISSA[one]
        return exact and limits.min <= int(value) <= limits.max
    largest = {"FP16": 65504, "BF16": (2 - 2**-7) * 2.0**127}.get(other)
    if largest is None:
        largest = float(np.finfo(FLOATS[other]).max)
    # What rounds to the largest number still fits: half a step above it does not.
    step = Fraction(largest) / (2 ** MANTISSA[other] - 1)
    return not math.isfinite(value) or abs(Fraction(value)) < Fraction(largest) + step / 2


def close(name: str, was: int | float, now: int | float) -> bool:
    """Check that two numbers are within half a step of the datatype, plus half a step of FP32 if
    the value was rounded through FP32."""
    tiny = {"FP16": 2.0**-24, "FP32": 2.0**-149, "BF16": 2.0**-133, "FP64": 5e-324}[name]
    step = max(abs(Fraction(was)) / 2 ** (MANTISSA[name] - 1), Fraction(tiny))
    slack = Fraction(1, 2) + Fraction(1, 2**15)
    return abs(Fraction(was) - Fraction(now)) <= step * slack


@given(arrays.arrays(np.float32, 5, elements=st.floats(width=32)))
def test_bfloat16_rounds_to_the_nearest(array: Array) -> None:
    finite = array[np.isfinite(array)]
    rounded, overflown = to_bfloat16(finite)
    for was, now in zip(finite[~overflown], from_bfloat16(rounded[~overflown]), strict=True):
        assert close("BF16", float(was), float(now))
    same, _ = to_bfloat16(from_bfloat16(rounded))
    assert same.tolist() == rounded.tolist()


@pytest.mark.parametrize(
    ("one", "other", "values", "text"),
    [
        ("FP64", "FP32", [[0, 1e39]], "1e[+]39 is too large for FP32, in row 0, column 1"),
        ("FP32", "BF16", [[0], [3.4e38]], "too large for BF16, in row 1"),
        ("INT64", "FP16", [70000], "70000 is too large for FP16, in row 0"),
        ("FP32", "INT64", [[[0], [3.5]]], "integer values .* got 3.5 in row 0, position .1, 0."),
        ("FP64", "INT64", [2.0**53 + 2], "got 9007199254740994.0 in row 0"),
        ("FP64", "INT8", [float("nan")], "-128 to 127, got nan in row 0"),
        ("UINT64", "INT64", [2**63], f"got {2**63} in row 0"),
        ("INT8", "UINT64", [-1], "got -1 in row 0"),
    ],
)
def test_error_names_the_value_and_its_position(
    one: str, other: str, values: object, text: str
) -> None:
    array = np.array(values, DATATYPES[one].dtype)
    with pytest.raises(SignatureMismatch, match=f'^input "x".*{text}$'):
        converted("x", DATATYPES[one], DATATYPES[other], array)


X = TensorSpec("x", DATATYPES["FP32"], ("n", 2))
TAKES = Signature((X,), (), (TensorSpec("w", DATATYPES["INT32"], (1,)),))


def test_only_numbers_from_json_are_converted() -> None:
    doubles, long = np.array([[1.5, 2]]), np.array([3])
    x = Written("x", DATATYPES["FP64"], doubles)
    w = Written("w", DATATYPES["INT64"], long)
    found = TAKES.check([x, w])
    assert (found[0].dtype, found[0].tolist()) == (np.float32, [[1.5, 2]])
    assert found.overrides["w"].dtype == np.int32  # type: ignore[attr-defined]
    for tensor in (
        Tensor(*x),
        Written("x", DATATYPES["BOOL"], np.array([[True, False]])),
        Written("x", DATATYPES["BYTES"], np.array([["1", "2"]], object)),
        Written("x", DATATYPES["FP64"], np.zeros((1, 3))),
    ):
        with pytest.raises(SignatureMismatch, match='"x" takes FP32 .-1, 2., got'):
            TAKES.check([tensor])


def test_early_conversion_gives_the_same_values_and_ignores_shapes() -> None:
    x = Written("x", DATATYPES["INT8"], np.array([[1, 2]], np.int8))
    odd = Written("x", DATATYPES["FP64"], np.zeros((1, 3)))
    stranger = Written("q", DATATYPES["FP64"], np.zeros(1))
    found = TAKES.conform([x, odd, stranger, Tensor(*x)])
    assert [each.datatype.name for each in found] == ["FP32", "FP64", "FP64", "INT8"]
    assert TAKES.check(found[:1])[0].tolist() == [[1, 2]]
    with pytest.raises(SignatureMismatch, match="too large"):
        TAKES.conform([Written("x", DATATYPES["FP64"], np.full((1, 2), 1e300))])
