"""A JSON table has one of four forms; errors name the row."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.protocol.json_table import FORMS, Taker, read
from service.api.protocol.pace import go_on
from service.core.errors import MalformedRequest
from service.core.tensors import Signature
from tests.api.tables import TWO, WIDE, forms, signature, spec


def arrays(message: dict[str, Any], taker: Signature) -> dict[str, Any]:
    return {t.name: t.array.tolist() for t in read(message, Taker(taker, None, go_on))}


@given(st.lists(st.tuples(st.integers(-9, 9), st.text("ab", max_size=2)), min_size=1, max_size=4))
def test_every_form_is_read_as_the_same_rows(rows: list[tuple[int, str]]) -> None:
    table = [list(row) for row in rows]
    expected = {"age": [[age] for age, _ in rows], "city": [[city] for _, city in rows]}
    for body in forms(["age", "city"], table):
        assert arrays(body, TWO) == expected
        assert arrays({"parameters": {}, **body}, TWO) == expected


@pytest.mark.parametrize("form", ["instances", "inputs"])
def test_rows_of_one_input_need_no_names(form: str) -> None:
    assert arrays({form: [[1, 2, 3]]}, WIDE) == {"x": [[1, 2, 3]]}


def test_the_columns_of_dataframe_split_may_be_missing_or_numbers() -> None:
    split = {"data": [[1, "Oslo"]]}
    assert arrays({"dataframe_split": split}, TWO)["age"] == [[1]]
    numbered = {"columns": [0, 1, 2], "data": [[1, 2, 3]]}
    assert arrays({"dataframe_split": numbered}, WIDE) == {"x": [[1, 2, 3]]}


ROW = {"age": 1, "city": "Oslo"}
TENSOR = {"name": "age", "datatype": "INT64", "shape": [1], "data": [1]}
BAD: dict[str, tuple[dict[str, Any], Signature, str]] = {
    "no form": ({}, TWO, "must have one of .*; got none of them"),
    "two forms": (
        {"instances": [ROW], "inputs": [ROW]}, TWO, 'got "instances" and "inputs"',
    ),
    "no rows": ({"instances": []}, TWO, '"instances" must be a list of at least one instance'),
    "no list": ({"inputs": 5}, TWO, "at least one row, or an object with columns"),
    "bare rows": ({"instances": [5]}, TWO, 'must be an object with "age", "city", got an int'),
    "records of lists": (
        {"dataframe_records": [[1]]}, WIDE, 'each row must be an object with "x", got a list',
    ),
    "a row that is none": ({"instances": [ROW, 5]}, TWO, "row 1 is an integer, expected an obj"),
    "another column": (
        {"instances": [ROW, {"age": 1, "town": ""}]}, TWO, 'row 1: .*"town".*the model takes',
    ),
    "another column of several": (
        {"instances": [{"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 2, "d": 3}]}, WIDE, 'row 1: .*"d"',
    ),
    "tensors of v2": ({"inputs": [TENSOR]}, TWO, "tensors of the v2 protocol: send them to"),
    "split of a list": ({"dataframe_split": []}, TWO, '"columns" and "data", got a list'),
    "split without rows": ({"dataframe_split": {"data": []}}, TWO, "at least one row"),
    "split of short rows": (
        {"dataframe_split": {"columns": ["age", "city"], "data": [[1, "a"], [2]]}},
        TWO, "row 1 .* is 1 values, expected 2 values",
    ),
    "split of values": (
        {"dataframe_split": {"columns": ["age", "city"], "data": [5]}},
        TWO, "row 0 .* is an integer, expected 2",
    ),
    "split of odd names": (
        {"dataframe_split": {"columns": [1.5], "data": [[1]]}}, TWO, "must be a list of names",
    ),
    "no columns": ({"inputs": {}}, TWO, "no rows, or no columns; the model takes"),
    "an empty column": ({"inputs": {"age": [], "city": []}}, TWO, "no rows, or no columns"),
    "an empty record": ({"instances": [{}]}, TWO, "no rows, or no columns"),
}  # fmt: skip


@pytest.mark.parametrize(("message", "taker", "why"), BAD.values(), ids=BAD.keys())
def test_invalid_tables_are_refused_with_the_reason(
    message: dict[str, Any], taker: Signature, why: str
) -> None:
    with pytest.raises(MalformedRequest, match=why):
        arrays(message, taker)


def test_columns_may_have_the_names_of_tensor_fields() -> None:
    taker = signature(spec("shape", "INT64", "n", 1), spec("datatype", "INT64", "n", 1))
    rows = [{"shape": 1, "datatype": 2}]
    assert arrays({"inputs": rows}, taker) == {"shape": [[1]], "datatype": [[2]]}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["age", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["age", "city", "x", "columns", "data"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(FORMS), JSON, max_size=2), st.sampled_from([TWO, WIDE]))
def test_any_table_is_read_or_refused(message: dict[str, Any], taker: Signature) -> None:
    try:
        arrays(message, taker)
    except MalformedRequest as error:
        assert str(error)
