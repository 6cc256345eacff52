"""JSON values are converted to arrays exactly, or refused with their position."""

import math
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.api.protocol.codec import decode
from service.api.protocol.json_tensors import (
    MAX_EMPTY,
    Misfit,
    check_empty,
    check_strings,
    flat_array,
    is_whole,
    json_array,
    kind,
    parse_json,
    show,
    to_json,
)
from service.core.conversion import limits
from service.core.errors import MalformedRequest
from service.core.sizes import MAX_STRINGS, MAX_TEXT
from service.core.tensors import DATATYPES, Tensor
from service.core.whereabouts import Labels

INTEGERS = [name for name, each in DATATYPES.items() if each.kind == "integer"]
FLOATS = ["FP16", "FP32", "FP64"]
NUMERIC = [name for name in DATATYPES if name not in ("BYTES", "BF16")]


def array(name: str, shape: list[int], data: Any) -> np.ndarray:
    return json_array("x", DATATYPES[name], shape, data)


def nested(values: list[Any], shape: list[int]) -> Any:
    return np.array(values, object).reshape(shape).tolist()


@given(st.sampled_from(NUMERIC), st.booleans(), st.data())
def test_an_array_is_unchanged_by_flat_and_nested_json(
    name: str, flat: bool, data: st.DataObject
) -> None:
    datatype = DATATYPES[name]
    elements = arrays.from_dtype(datatype.dtype, allow_infinity=False)
    made = data.draw(arrays.arrays(datatype.dtype, (2, 1, 3), elements=elements))
    written = np.asarray(to_json(Tensor("x", datatype, made))).tolist()
    values = orjson.loads(orjson.dumps(written))  # NaN is sent as null
    found = array(name, [2, 1, 3], values if flat else nested(values, [2, 1, 3]))
    assert found.dtype == datatype.dtype
    np.testing.assert_array_equal(found, made)


@given(st.sampled_from(INTEGERS), st.integers(-(2**64), 2**65))
def test_an_integer_is_read_exactly_or_refused(name: str, value: int) -> None:
    low, high = limits(DATATYPES[name])
    if low <= value <= high:
        assert array(name, [1], [value]).tolist() == [value]
    else:
        with pytest.raises(MalformedRequest, match=f"got {value} in"):
            array(name, [1], [value])


@given(st.sampled_from([*FLOATS, "BF16"]), st.floats(allow_nan=False, allow_infinity=False))
def test_finite_numbers_never_become_infinite(name: str, value: float) -> None:
    try:
        found = array(name, [1], [value])
    except MalformedRequest as error:
        assert "is too large for" in str(error) and abs(value) > 1000
    else:
        back = np.asarray(to_json(Tensor("x", DATATYPES[name], found)), np.float64)
        assert np.isfinite(back).all() and back[0] == pytest.approx(value, rel=0.01, abs=1e-4)


@pytest.mark.parametrize("name", [*FLOATS, "BF16"])
def test_infinity_is_kept_and_null_is_nan(name: str) -> None:
    found = array(name, [3], [math.inf, -math.inf, None])
    back = np.asarray(to_json(Tensor("x", DATATYPES[name], found)), np.float64)
    assert back[0] == math.inf and back[1] == -math.inf and math.isnan(back[2])


def test_the_bytes_of_infinity_across_two_values_are_accepted() -> None:
    """The bytes of two adjacent values together contain the bytes of infinity."""
    raw = b"\x01\x00\x00\x80\x7f\x02\x03\x04"
    values = np.frombuffer(raw, "<f4").astype(float).tolist()
    assert b"\x00\x00\x80\x7f" in raw
    assert array("FP32", [2], values).tobytes() == raw


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("INT8", [1, 2.5], r"takes INT8: .*got 2.5 in .*1"),
        ("INT8", [1, True], "got true"),
        ("INT64", [None], "got null"),
        ("FP32", [1.0, "1"], 'got "1"'),
        ("FP32", [False], "got false"),
        ("BOOL", [1], "got 1"),
        ("BYTES", [1], "got 1"),
        ("BYTES", [{"b64": ""}], "got an object"),
        ("INT64", [2.0**60], "got 1.15"),
        ("FP16", [1, 70000], "70000 is too large for FP16, in"),
        ("BF16", [1, 1e39], "too large for BF16, in"),
    ],
)
def test_values_of_another_type_are_named_in_the_error(
    name: str, values: list[Any], why: str
) -> None:
    with pytest.raises(MalformedRequest, match=why):
        array(name, [len(values)], values)


def test_a_whole_number_with_a_decimal_point_is_an_integer() -> None:
    assert array("INT8", [2], [3.0, -4]).tolist() == [3, -4]
    assert is_whole(2.0**53) and not is_whole(2.0**54) and not is_whole(3) and not is_whole(0.5)


@pytest.mark.parametrize(
    ("shape", "data", "why"),
    [
        ([2], 5, '"data" must be a list, got an integer'),
        ([3], [1, 2], r"has 2 values, shape \[3\] needs 3"),
        ([2, 2], [[1, 2], [3]], r"has 1 values on axis 1 in row 1, shape \[2, 2\]"),
        ([2, 2], [[1, 2], 3], "has an integer on axis 1 in row 1"),
        ([2, 2], [[1, 2]], "has 1 values on axis 0, shape"),
        ([1, 2], [[[1], [2]]], "got a list"),
        ([2, 2, 1], [[[1], [2]], [[3], [4, 5]]], "has 2 values on axis 2 in row 1"),
    ],
)
def test_data_of_another_shape_is_refused_with_the_reason(
    shape: list[int], data: Any, why: str
) -> None:
    with pytest.raises(MalformedRequest, match=f'input "x".*{why}'):
        array("INT64", shape, data)


VALUES = st.one_of(
    st.integers(-(2**63), 2**64 - 1),
    st.integers(-130, 260),
    st.floats(),
    st.sampled_from([None, 3.0, 1e39, -1e39, 3.4028235677973366e38, "x", []]),
)


@given(st.sampled_from([*NUMERIC, "BF16"]), st.lists(VALUES, max_size=5))
def test_values_are_read_the_same_without_the_check_for_booleans(
    name: str, values: list[Any]
) -> None:
    found = []
    for booleans in (True, False):
        try:
            made = flat_array(DATATYPES[name], values, booleans)
            found.append((made.dtype, made.tobytes()))
        except Misfit as misfit:
            found.append((misfit.what, misfit.index))
    assert found[0] == found[1]


@pytest.mark.parametrize("name", sorted({*NUMERIC, "BF16"} - {"BOOL"}))
@pytest.mark.parametrize("value", ["true", "false"])
def test_a_boolean_among_numbers_is_refused(name: str, value: str) -> None:
    tensor = f'{{"name": "x", "shape": [2], "datatype": "{name}", "data": [1, {value}]}}'
    body = f'{{"inputs": [{tensor}]}}'.encode()
    with pytest.raises(MalformedRequest, match=f"got {value} in row 1"):
        decode(body)


def test_errors_name_the_position_of_a_value_and_its_label() -> None:
    with pytest.raises(Misfit) as misfit:
        flat_array(DATATYPES["INT8"], [1, 2, 300])
    assert misfit.value.index == 2
    with pytest.raises(MalformedRequest, match='in row 1, column "city"'):
        json_array("x", DATATYPES["INT8"], [2, 2], [1, 2, 3, "x"], Labels(["age", "city"]))


def test_empty_tensors_and_strings_are_limited_in_size() -> None:
    check_empty("x", [0, MAX_EMPTY])
    with pytest.raises(MalformedRequest, match="is too large"):
        check_empty("x", [0, MAX_EMPTY, 2])
    check_strings("x", MAX_STRINGS, MAX_TEXT)
    with pytest.raises(MalformedRequest, match="BYTES elements"):
        check_strings("x", MAX_STRINGS + 1, 0)
    with pytest.raises(MalformedRequest, match="bytes of text"):
        check_strings("x", 1, MAX_TEXT + 1)
    assert array("FP32", [0, 3], []).shape == (0, 3)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "the body is empty"),
        (b"{", "the body is not JSON"),
        (b"[1]", "the body is a list, expected an object"),
        (b'"x"', "the body is a string"),
        (b"1.5", "the body is a number"),
        ("{}".encode("utf-16"), "UTF-16"),
    ],
)
def test_a_body_that_is_not_an_object_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(MalformedRequest, match=why):
        parse_json(body)


def test_one_byte_order_mark_is_ignored() -> None:
    for body in (b'{"a": 1}', memoryview(b'\xef\xbb\xbf{"a": 1}')):
        assert parse_json(body) == {"a": 1}


def test_a_lack_of_memory_is_not_a_malformed_request() -> None:
    def full(_: object) -> Any:
        raise SystemError

    with pytest.raises(MemoryError):
        parse_json(b"{}", full)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a" * 99, '"' + "a" * 40 + '"'),
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
        (True, "true"),
        (1.5, "1.5"),
        ([1], "a list"),
        (None, "null"),
        ({}, "an object"),
    ],
)
def test_long_values_are_shortened_in_errors(value: Any, shown: str) -> None:
    assert show(value) == shown
    assert kind(value).startswith(("a", "null"))
