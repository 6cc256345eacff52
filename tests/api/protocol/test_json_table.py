"""Tables in JSON: the same rows in each form, and what is wrong with one is named."""

from typing import Any

import pytest

from service.api.protocol.json_table import Taker, read
from service.api.protocol.pace import go_on
from service.core.errors import MalformedRequest
from tests.api.tables import signature, spec

ONE = Taker(signature(spec("x", "FP32", "batch", 2)), None, go_on)
TWO = Taker(signature(spec("a", "FP32", "batch"), spec("b", "INT64", "batch")), None, go_on)
RECORDS = [{"a": 1, "b": 2}, {"b": 4, "a": 3}]


@pytest.mark.parametrize(
    "message",
    [
        {"instances": RECORDS},
        {"inputs": RECORDS},
        {"inputs": {"a": [1, 3], "b": [2, 4]}},
        {"dataframe_records": RECORDS},
        {"dataframe_split": {"columns": ["b", "a"], "data": [[2, 1], [4, 3]]}},
        {"dataframe_split": {"data": [[1, 2], [3, 4]]}},
        {"instances": RECORDS, "signature_name": "x"},
    ],
)
def test_each_form_gives_the_same_tensors(message: dict[str, Any]) -> None:
    a, b = read(message, TWO)
    assert (a.name, a.array.tolist(), b.array.tolist()) == ("a", [1, 3], [2, 4])


@pytest.mark.parametrize(
    "message",
    [
        {"instances": [[1, 2], [3, 4]]},
        {"inputs": [[1, 2], [3, 4]]},
        {"instances": [{"x": [1, 2]}, {"x": [3, 4]}]},
        {"dataframe_split": {"columns": ["p", "q"], "data": [[1, 2], [3, 4]]}},
        {"dataframe_split": {"columns": [0, 1], "data": [[1, 2], [3, 4]]}},
    ],
)
def test_rows_of_the_one_input_need_no_name(message: dict[str, Any]) -> None:
    (x,) = read(message, ONE)
    assert x.array.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ({}, "got none of them"),
        ({"instances": [1], "inputs": [1]}, '"instances" and "inputs"'),
        ({"instances": []}, "at least one instance"),
        ({"inputs": 1}, "or an object with columns"),
        ({"dataframe_records": [[1, 2]]}, "must be an object"),
        ({"instances": [[1, 2]]}, 'an object with "a", "b"'),
        ({"instances": [{"a": 1, "b": 2}, 3]}, "row 1 is"),
        ({"instances": [{"a": 1, "b": 2}, {"a": 1}]}, "row 1"),
        ({"inputs": [{"name": "a", "datatype": "FP32", "shape": [1], "data": [1]}]}, "v2 protocol"),
        ({"dataframe_split": []}, '"columns" and "data"'),
        ({"dataframe_split": {"columns": ["a", "b"], "data": []}}, "at least one row"),
        ({"dataframe_split": {"columns": "ab", "data": [[1, 2]]}}, "a list of names"),
        ({"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [3]]}}, "row 1"),
        ({"inputs": {}}, "no rows"),
    ],
)
def test_what_is_wrong_is_named(message: dict[str, Any], told: str) -> None:
    with pytest.raises(MalformedRequest) as refused:
        read(message, TWO)
    assert told in str(refused.value)
