"""All forms of a table are decoded to the same arrays as the v2 protocol's JSON."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.protocol import codec, v1
from service.core.errors import MalformedRequest, QuantserveError
from service.core.tensors import Signature, Tensor
from tests.api.tables import (
    IDS,
    MASK,
    PADS,
    TWO,
    WIDE,
    arrays,
    as_csv,
    forms,
    same,
    signature,
    spec,
)

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "FP32": st.floats(width=32, allow_nan=False, allow_infinity=False) | st.integers(-99, 99),
    "FP64": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63),
    "FP16": st.floats(width=16, allow_nan=False, allow_infinity=False),
    "BF16": st.floats(-1000, 1000),
    "INT64": st.integers(-(2**63), 2**63 - 1),
    "UINT8": st.integers(0, 255),
    "INT32": st.integers(-(2**31), 2**31 - 1) | st.integers(-99, 99).map(float),
    "BOOL": st.booleans(),
    # An unquoted CSV cell cannot end a line with a carriage return; a quoted cell can.
    "BYTES": st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6),
}
NAMES = ["age", "city", "a,b", 'say "x"', "0"]


@given(st.data())
def test_columns_of_one_value_are_the_same_in_every_form(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    kinds = [data.draw(st.sampled_from(sorted(VALUES))) for _ in names]
    rows = data.draw(st.lists(st.tuples(*[VALUES[k] for k in kinds]), min_size=1, max_size=5))
    table = [list(row) for row in rows]
    pairs = list(zip(names, kinds, strict=True))
    taker = signature(*[spec(name, kind, "batch", 1) for name, kind in pairs])
    tensors = [
        {"name": n, "datatype": k, "shape": [len(rows), 1], "data": [row[i] for row in table]}
        for i, (n, k) in enumerate(pairs)
    ]
    asked = codec.decode(orjson.dumps({"inputs": tensors}))
    expected = {t.name: t.array for t in asked.inputs}
    for body in forms(names, table):
        same(arrays(body, taker), expected)
    same(arrays(as_csv(names, table), taker, form="csv"), expected)
    bare = as_csv(names, table).split(b"\n", 1)[1]
    same(arrays(bare, taker, form="csv without header"), expected)
    flat = signature(*[spec(name, kind, "batch") for name, kind in pairs])
    expected = {name: array.ravel() for name, array in expected.items()}
    for body in forms(names, table)[:-1]:
        same(arrays(body, flat), expected)
    same(arrays(as_csv(names, table, lineterminator="\n"), flat, form="csv"), expected)


@given(
    st.sampled_from(["FP32", "FP64", "INT64", "BOOL", "BYTES"]),
    st.integers(1, 6),
    st.booleans(),
    st.data(),
)
def test_columns_of_other_names_are_joined_to_the_only_input(
    kind: str, width: int, fixed: bool, data: st.DataObject
) -> None:
    row = st.lists(VALUES[kind], min_size=width, max_size=width)
    table = data.draw(st.lists(row, min_size=1, max_size=5))
    taker = signature(spec("x", kind, None, width if fixed else None))
    names = [f"feature {i}" for i in range(width)]
    tensor = {"name": "x", "datatype": kind, "shape": [len(table), width], "data": table}
    asked = codec.decode(orjson.dumps({"inputs": [tensor]}))
    expected = {t.name: t.array for t in asked.inputs}
    records = forms(names, table)
    del records[3], records[-1]  # the values are in the order of the columns
    for body in [*records, {"instances": table}, {"inputs": table}, {"inputs": {"x": table}}]:
        same(arrays(body, taker), expected)
    same(arrays({"dataframe_split": {"data": table}}, taker), expected)
    same(
        arrays({"dataframe_split": {"columns": list(range(width)), "data": table}}, taker), expected
    )
    same(arrays(as_csv(names, table), taker, form="csv"), expected)
    bare = as_csv(names, table).split(b"\r\n", 1)[1]
    same(arrays(bare, taker, form="csv without header"), expected)


def test_rows_of_one_value_need_no_list() -> None:
    one = signature(spec("x", "INT64", "n", 1))
    assert arrays({"instances": [1, 2, 3]}, one)["x"].tolist() == [[1], [2], [3]]
    assert arrays({"instances": [[1], [2]]}, one)["x"].tolist() == [[1], [2]]
    assert arrays({"inputs": [1, 2]}, one)["x"].tolist() == [[1], [2]]
    deep = signature(spec("x", "FP32", "n", 1, 1))
    assert arrays({"instances": [1, 2, 3]}, deep)["x"].shape == (3, 1, 1)
    assert arrays({"inputs": {"x": 7}}, signature(spec("x", "FP32")))["x"].shape == ()


def test_a_table_may_contain_several_shapes() -> None:
    taker = signature(spec("a", "INT64", "n", 2), spec("b", "BYTES", "n", 1))
    rows = [[[1, 2], "x"], [[3, 4], "y"]]
    for body in forms(["a", "b"], rows)[:-1]:
        found = arrays(body, taker)
        assert found["a"].tolist() == [[1, 2], [3, 4]]
        assert found["b"].tolist() == [["x"], ["y"]]


def test_null_nan_and_infinity_are_read() -> None:
    taker = signature(spec("x", "FP32", "n", 1))
    for body in (
        b'{"instances": [{"x": null}, {"x": -Infinity}]}',
        b'{"inputs": {"x": [NaN, -Infinity]}}',
        b'{"dataframe_split": {"columns": ["x"], "data": [[null], [-Infinity]]}}',
    ):
        np.testing.assert_array_equal(arrays(body, taker)["x"], [[np.nan], [-np.inf]])
    found = arrays(b'x\n""\n-inf\nNaN\n', taker, form="csv")["x"]
    np.testing.assert_array_equal(found, [[np.nan], [-np.inf], [np.nan]])


SPLIT = '{"dataframe_split": {"columns": %s, "data": %s}}'
BAD = {
    "no table": (TWO, "{}", 'one of "instances", "inputs", .*; got none of them'),
    "two tables": (TWO, '{"instances": [], "inputs": []}', 'got "instances" and "inputs"'),
    "no rows": (TWO, '{"dataframe_records": []}', "at least one row"),
    "no columns": (TWO, '{"inputs": {}}', 'no columns; the model takes "age" INT64'),
    "an empty column": (TWO, '{"inputs": {"age": [], "city": []}}', "has no rows"),
    "inputs a number": (TWO, '{"inputs": 7}', "or an object with columns"),
    "tensors of v2": (
        TWO, '{"inputs": [{"name": "age", "shape": [1, 1], "datatype": "INT64", "data": [1]}]}',
        "tensors of the v2 protocol",
    ),
    "no object": (TWO, '{"instances": [1]}', 'an object with "age", "city", got an integer'),
    "a row of another kind": (
        TWO, '{"instances": [{"age": 1, "city": ""}, 7]}', "row 1 is an integer",
    ),
    "a missing column": (TWO, '{"instances": [{"age": 1}]}', 'column "city" is missing; the model'),
    "a misspelt column": (
        TWO, '{"inputs": {"Age": [1], "city": [""]}}',
        'unknown column "Age", perhaps "age" is meant; column "age" is missing',
    ),
    "an additional column": (
        TWO, SPLIT % ('["age", "city", "zip"]', '[[1, "", 2]]'), 'unknown column "zip"; the model',
    ),
    "a column that is missing later": (
        TWO, '{"dataframe_records": [{"age": 1, "city": ""}, {"age": 1}]}',
        'row 1: column "city" is missing',
    ),
    "a column twice": (
        TWO, SPLIT % ('["age", "age"]', "[[1, 2]]"), 'column "age" is given 2 times',
    ),
    "a bad value": (
        TWO, '{"instances": [{"age": 1, "city": ""}, {"age": "x", "city": ""}]}',
        'input "age" takes INT64: integer values .*, got "x" in row 1',
    ),
    "a fraction": (TWO, '{"inputs": {"age": [1, 3.5], "city": ["", ""]}}', "got 3.5 in row 1"),
    "true for an integer": (TWO, '{"inputs": {"age": [true], "city": [""]}}', "got true in row 0"),
    "null for a string": (TWO, '{"inputs": {"age": [1], "city": [null]}}', "got null in row 0"),
    "a short row": (TWO, SPLIT % ('["age", "city"]', '[[1, ""], [1]]'), "row 1 .* is 1 values"),
    "a row a number": (TWO, SPLIT % ('["age", "city"]', "[1]"), "row 0 .* is an integer"),
    "names a number": (TWO, SPLIT % ("7", "[[1, 2]]"), "must be a list of names"),
    "no frame": (TWO, '{"dataframe_split": []}', "must be an object"),
    "no data": (TWO, '{"dataframe_split": {"columns": []}}', '"data" of "dataframe_split"'),
    "a column a value": (TWO, '{"inputs": {"age": 1, "city": ""}}', "a list with a value for each"),
    "a bad value of many": (
        WIDE, SPLIT % ('["a", "b", "c"]', '[[1, 2, 3], [4, "x", 6]]'),
        'got "x" in row 1, column "b"',
    ),
    "too large": (
        WIDE, '{"instances": [[1, 2, 3], [1, 2, 1e39]]}', "too large for FP32, in row 1, column 2",
    ),
    "too few columns": (
        WIDE, '{"dataframe_records": [{"a": 1, "b": 2}]}', 'expected 3 columns, got 2: "a", "b"',
    ),
    "columns of lists": (WIDE, '{"instances": [{"a": [1, 2, 3]}]}', 'unknown column "a"'),
    "the input and more": (WIDE, '{"inputs": {"x": [1], "y": [1]}}', 'unknown column "y"'),
    "columns of different lengths": (
        WIDE, '{"inputs": {"a": [1], "b": [1, 2], "c": [1]}}',
        'column "a" has 1 rows, column "b" has 2',
    ),
    "rows of different columns": (
        WIDE, '{"dataframe_records": [{"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 2, "d": 3}]}',
        'row 1: unknown column "d"; column "c" is missing',
    ),
    "rows of different lengths": (
        WIDE, '{"instances": [[1, 2, 3], [1, 2]]}', "row 1 has 2 values, expected 3",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("taker", "body", "text"), BAD.values(), ids=BAD.keys())
def test_invalid_tables_are_refused_with_the_reason(taker: Signature, body: str, text: str) -> None:
    with pytest.raises(MalformedRequest, match=text):
        v1.decode(body.encode(), taker)


@given(st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["age", "city", "x", "columns", "data"]), inner, max_size=3),
    max_leaves=12,
), st.sampled_from(["instances", "inputs", "dataframe_split", "dataframe_records"]),
    st.sampled_from([TWO, WIDE, signature(IDS, MASK)]))  # fmt: skip
def test_any_table_is_read_or_refused(table: Any, form: str, taker: Signature) -> None:
    """No other exceptions than QuantserveError."""
    padding = PADS if taker.inputs[0] is IDS else None
    try:
        tensors = v1.decode(orjson.dumps({form: table}), taker, padding).inputs
    except QuantserveError:
        return
    assert all(type(each) is Tensor for each in tensors)


@pytest.mark.parametrize(("ids", "mask"), [([[1, 2], [3, 4]], [[1, 1]]), ([[1]], [[1], [1, 1]])])
def test_columns_with_different_numbers_of_rows_are_decoded_unchanged(
    ids: list[list[int]], mask: list[list[int]]
) -> None:
    taker = signature(IDS, MASK)
    body = orjson.dumps({"inputs": {"ids": ids, "mask": mask}})
    request = v1.decode(body, taker, PADS)
    assert [len(tensor.array) for tensor in request.inputs] == [len(ids), len(mask)]
