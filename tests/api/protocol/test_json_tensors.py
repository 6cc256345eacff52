"""Values in JSON to arrays, exactly."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.protocol.json_tensors import MAX_EMPTY, json_array, parse_json
from service.core.errors import MalformedRequest
from service.core.tensors import DATATYPES


def read(datatype: str, shape: list[int], data: Any) -> np.ndarray:
    return json_array("x", DATATYPES[datatype], shape, data)


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]]])
def test_data_may_be_flat_or_nested(data: list[Any]) -> None:
    assert read("INT32", [2, 2], data).tolist() == [[1, 2], [3, 4]]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20))
def test_no_integer_goes_through_a_double(values: list[int]) -> None:
    sent = orjson.loads(orjson.dumps(values))
    assert read("INT64", [len(values)], sent).tolist() == values


def test_null_is_nan_and_a_whole_number_an_integer() -> None:
    assert np.isnan(read("FP32", [2], [None, 1])[0])
    assert read("INT8", [2], [3.0, -4]).tolist() == [3, -4]


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "told"),
    [
        ("FP32", [2], 1, '"data" must be a list'),
        ("FP32", [2], [1], "has 1 values, shape [2] needs 2"),
        ("FP32", [2, 2], [[1, 2], [3]], "x"),
        ("UINT8", [2], [1, 256], "takes UINT8"),
        ("INT8", [2], [1, 1.5], "got 1.5"),
        ("INT64", [1], [2**63], "takes INT64"),
        ("FP32", [1], [1e300], "too large for FP32"),
        ("FP16", [1], [1e6], "too large for FP16"),
        ("BF16", [1], [1e39], "too large for BF16"),
        ("BOOL", [1], [1], "takes BOOL"),
        ("BYTES", [1], [1], "takes BYTES"),
        ("FP32", [1], ["1"], "takes FP32"),
        ("FP32", [0, MAX_EMPTY + 1], [], "is too large"),
    ],
)
def test_what_does_not_fit_is_refused(
    datatype: str, shape: list[int], data: Any, told: str
) -> None:
    with pytest.raises(MalformedRequest) as refused:
        read(datatype, shape, data)
    assert told in str(refused.value) and "x" in str(refused.value)


@pytest.mark.parametrize("document", [b"", b"[]", b"1", b"{", b"\xff\xfe{", b'{"a": NaN}'])
def test_a_body_is_a_json_object(document: bytes) -> None:
    with pytest.raises(MalformedRequest, match="the body is"):
        parse_json(document)


def test_a_byte_order_mark_is_passed_over() -> None:
    assert parse_json(b"\xef\xbb\xbf{}") == {}
