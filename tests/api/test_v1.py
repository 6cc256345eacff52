"""All forms of a table give the same arrays, and those of the v2 protocol's JSON."""

import csv
import io
import json
from contextlib import suppress
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api import codec, csv_table, v1
from service.api.csv_table import body_format
from service.api.pace import TakesLong, not_here
from service.core.errors import MalformedRequest, QuantserveError
from service.core.padding import Padding
from service.core.sizes import MAX_JSON_VALUES
from service.core.tensors import DATATYPES, Array, Signature, Tensor, TensorSpec

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "FP32": st.floats(width=32, allow_nan=False, allow_infinity=False) | st.integers(-99, 99),
    "FP64": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63),
    "FP16": st.floats(width=16, allow_nan=False, allow_infinity=False),
    "BF16": st.floats(-1000, 1000),
    "INT64": st.integers(-(2**63), 2**63 - 1),
    "UINT8": st.integers(0, 255),
    "INT32": st.integers(-(2**31), 2**31 - 1) | st.integers(-99, 99).map(float),
    "BOOL": st.booleans(),
    # csv cannot hold a carriage return at the end of an unquoted file's line; quoted it can.
    "BYTES": st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6),
}
NAMES = ["age", "city", "a,b", 'say "x"', "0"]


def spec(name: str, datatype: str, *shape: int | str | None) -> TensorSpec:
    return TensorSpec(name, DATATYPES[datatype], shape)


def signature(*inputs: TensorSpec) -> Signature:
    return Signature(inputs, ())


def arrays(body: Any, taker: Signature, **how: Any) -> dict[str, Array]:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return {t.name: t.array for t in v1.decode(data, taker, **how).inputs}


def same(one: dict[str, Array], other: dict[str, Array]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        assert array.dtype == other[name].dtype
        assert array.shape == other[name].shape
        assert array.tolist() == other[name].tolist()


def as_csv(names: list[str], rows: list[list[Any]], **how: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, **how).writerows([names, *rows])
    return text.getvalue().encode()


def forms(names: list[str], rows: list[list[Any]]) -> list[Any]:
    records = [dict(zip(names, row, strict=True)) for row in rows]
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    return [
        {"instances": records},
        {"inputs": records},
        {"inputs": columns},
        {"inputs": dict(reversed(columns.items()))},
        {"dataframe_records": records},
        {"dataframe_split": {"columns": names, "data": rows, "index": list(range(len(rows)))}},
        {"instances": [{name: [value] for name, value in row.items()} for row in records]},
    ]


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
def test_columns_of_other_names_make_up_the_one_input(
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
    del records[3], records[-1]  # the order of the columns is that of the values
    for body in [*records, {"instances": table}, {"inputs": table}, {"inputs": {"x": table}}]:
        same(arrays(body, taker), expected)
    same(arrays({"dataframe_split": {"data": table}}, taker), expected)
    same(
        arrays({"dataframe_split": {"columns": list(range(width)), "data": table}}, taker), expected
    )
    same(arrays(as_csv(names, table), taker, form="csv"), expected)
    bare = as_csv(names, table).split(b"\r\n", 1)[1]
    same(arrays(bare, taker, form="csv without header"), expected)


def test_one_value_a_row_needs_no_list() -> None:
    one = signature(spec("x", "INT64", "n", 1))
    assert arrays({"instances": [1, 2, 3]}, one)["x"].tolist() == [[1], [2], [3]]
    assert arrays({"instances": [[1], [2]]}, one)["x"].tolist() == [[1], [2]]
    assert arrays({"inputs": [1, 2]}, one)["x"].tolist() == [[1], [2]]
    deep = signature(spec("x", "FP32", "n", 1, 1))
    assert arrays({"instances": [1, 2, 3]}, deep)["x"].shape == (3, 1, 1)
    assert arrays({"inputs": {"x": 7}}, signature(spec("x", "FP32")))["x"].shape == ()


def test_a_table_of_several_shapes_is_read() -> None:
    taker = signature(spec("a", "INT64", "n", 2), spec("b", "BYTES", "n", 1))
    rows = [[[1, 2], "x"], [[3, 4], "y"]]
    for body in forms(["a", "b"], rows)[:-1]:
        found = arrays(body, taker)
        assert found["a"].tolist() == [[1, 2], [3, 4]]
        assert found["b"].tolist() == [["x"], ["y"]]


def test_null_and_what_is_not_finite_are_read_as_such() -> None:
    taker = signature(spec("x", "FP32", "n", 1))
    for body in (
        b'{"instances": [{"x": null}, {"x": -Infinity}]}',
        b'{"inputs": {"x": [NaN, -Infinity]}}',
        b'{"dataframe_split": {"columns": ["x"], "data": [[null], [-Infinity]]}}',
    ):
        np.testing.assert_array_equal(arrays(body, taker)["x"], [[np.nan], [-np.inf]])
    found = arrays(b'x\n""\n-inf\nNaN\n', taker, form="csv")["x"]
    np.testing.assert_array_equal(found, [[np.nan], [-np.inf], [np.nan]])


TWO = signature(spec("age", "INT64", "n", 1), spec("city", "BYTES", "n", 1))
WIDE = signature(spec("x", "FP32", "n", 3))
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
def test_what_is_wrong_with_a_table_is_named(taker: Signature, body: str, text: str) -> None:
    with pytest.raises(MalformedRequest, match=text):
        v1.decode(body.encode(), taker)


def test_csv_that_does_not_say_so_is_told_how_to() -> None:
    with pytest.raises(MalformedRequest, match="not JSON.*CSV needs the Content-Type text/csv"):
        v1.decode(b"age,city\n1,Paris\n", TWO)


BAD_CSV = {
    "nothing": (TWO, "", "the CSV is empty"),
    "blank lines": (TWO, "\n\n", "the CSV is empty"),
    "no rows": (TWO, "age,city\n", "no row below"),
    "a missing column": (TWO, "age\n1\n", 'column "city" is missing'),
    "an additional column": (TWO, "age,city,zip\n1,a,2", 'unknown column "zip"'),
    "semicolons": (TWO, "age;city\n1;Paris\n", 'unknown column "age;city"'),
    "a short row": (TWO, "age,city\n1,a\n2\n", "row 1 of the CSV has 1 values, expected 2"),
    "a bad value": (TWO, "age,city\n1,a\nx,b\n", 'input "age" takes INT64.*got "x" in row 1'),
    "an empty integer": (TWO, "age,city\n,a\n", 'got "" in row 0'),
    "a fraction": (TWO, "age,city\n1.5,a\n", 'got "1.5" in row 0'),
    "an underscore": (TWO, "age,city\n1_0,a\n", 'got "1_0" in row 0'),
    "too large": (TWO, f"age,city\n{2**63},a\n", f"got {2**63} in row 0"),
    "a bad value of many": (WIDE, "a,b,c\n1,2,3\n4,5,x\n", 'got "x" in row 1, column "c"'),
    "past a double": (WIDE, "a,b,c\n1,1e999,inf\n", 'got "1e999" in row 0, column "b"'),
    "past FP32": (WIDE, "a,b,c\n1,2,1e39\n", 'too large for FP32, in row 0, column "c"'),
    "no names": (WIDE, "1.5,2,3\n4,5,6\n", "must name the columns.*header=absent"),
    "an open quote": (WIDE, 'a,b,c\n1,2,"3\n', "is not CSV"),
    "a word after a quote": (WIDE, 'a,b,c\n1,2,"3"x\n', "line 2 is not CSV"),
}


@pytest.mark.parametrize(("taker", "text", "problem"), BAD_CSV.values(), ids=BAD_CSV.keys())
def test_what_is_wrong_with_csv_is_named(taker: Signature, text: str, problem: str) -> None:
    with pytest.raises(MalformedRequest, match=problem):
        v1.decode(text.encode(), taker, form="csv")


def test_csv_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(MalformedRequest, match="not UTF-8"):
        v1.decode("age,city\n1,é\n".encode("latin-1"), TWO, form="csv")


def test_csv_is_read_as_programs_write_it() -> None:
    expected = {"age": [[1], [2]], "city": [["Paris, France"], ['"\nx']]}
    cells = '1,"Paris, France"\r\n2,"""\nx"\r\n'
    for head in ("age,city\r\n", "\ufeffage,city\r\n", '"age", city\r\n\r\n'):
        found = arrays(f"{head}{cells}".encode(), TWO, form="csv")
        assert {name: array.tolist() for name, array in found.items()} == expected
    indexed = b"city,,age\n"  # a column without a name that is not the first is no index
    with pytest.raises(MalformedRequest, match='unknown column ""'):
        arrays(indexed, TWO, form="csv")
    found = arrays(b",age,city\n0,1.0,a\n1,2e0,b\n", TWO, form="csv")
    assert found["age"].tolist() == [[1], [2]]
    assert arrays(b"0,1,2\n4,5,6\n", WIDE, form="csv")["x"].tolist() == [[4, 5, 6]]


def test_csv_of_many_rows_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_table, "CELLS", 4)
    rows = "".join(f"{i},{i + 0.5},{-i}\n" for i in range(11))
    found = arrays(f"a,b,c\n{rows}".encode(), WIDE, form="csv")["x"]
    assert found.tolist() == [[i, i + 0.5, -i] for i in range(11)]
    rows = "".join(f"{i},c{i}\n" for i in range(11))
    assert arrays(f"age,city\n{rows}".encode(), TWO, form="csv")["city"].tolist() == [
        [f"c{i}"] for i in range(11)
    ]
    with pytest.raises(MalformedRequest, match='got "x" in row 11$'):
        arrays(f"age,city\n{rows}x,y\n".encode(), TWO, form="csv")


def test_csv_of_more_cells_than_are_taken_is_refused_before_it_is_read() -> None:
    csv_table.check_size(b"a\n" + b"1\n" * (MAX_JSON_VALUES - 1))
    for body in (b"1\n" * (MAX_JSON_VALUES + 1), b"1,1\r\n" * (MAX_JSON_VALUES // 2 + 1)):
        with pytest.raises(MalformedRequest, match=f"at most {MAX_JSON_VALUES} are taken"):
            csv_table.check_size(body)
    cities = b"age,city\n" + b"1,a\n" * (2**16 + 1)
    with pytest.raises(MalformedRequest, match="BYTES elements, at most 65536"):
        v1.decode(cities, TWO, form="csv")


@pytest.mark.parametrize(
    ("content_type", "form"),
    [
        (b"application/json", "json"),
        (b"application/x-www-form-urlencoded", "json"),
        (b"", "json"),
        (b"text/csv", "csv"),
        (b"Text/CSV; charset=UTF-8", "csv"),
        (b'text/csv;charset="utf-8"; header=present', "csv"),
        (b"text/csv; header=absent", "csv without header"),
    ],
)
def test_the_content_type_says_what_a_body_is(content_type: bytes, form: str) -> None:
    assert body_format(content_type) == form


def test_csv_in_other_characters_is_refused() -> None:
    with pytest.raises(MalformedRequest, match='charset "latin-1", expected utf-8'):
        body_format(b"text/csv; charset=latin-1")


IDS, MASK = spec("ids", "INT64", "n", "s"), spec("mask", "INT64", "n", "s")
PADS = Padding((4, 8), (9, 0), ((True,), (True,)), ((),), (("s", ((0, 1), (1, 1))),))


@given(st.lists(st.lists(st.integers(0, 99), max_size=6), min_size=1, max_size=5))
def test_rows_of_different_lengths_are_filled_up(rows: list[list[int]]) -> None:
    longest = max(map(len, rows))
    records = [{"ids": row, "mask": [1] * len(row)} for row in rows]
    found = arrays({"instances": records}, signature(IDS, MASK), padding=PADS)
    assert found["ids"].tolist() == [row + [9] * (longest - len(row)) for row in rows]
    assert found["mask"].tolist() == [[1] * len(r) + [0] * (longest - len(r)) for r in rows]
    alone = Padding((4,), (9,), ((True,),), ((),))
    same(arrays({"instances": rows}, signature(IDS), padding=alone), {"ids": found["ids"]})


def test_several_axes_are_filled_up_with_any_datatype() -> None:
    taker = signature(spec("x", "BF16", "n", "s", 2, "t"))
    ones = float(np.float32(1).view(np.uint32) >> 16)
    pads = Padding((4,), (ones,), ((True, False, True),), ((),))
    found = arrays({"instances": [[[[2], [3]]], [[[4, 5], [6]], [[7], []]]]}, taker, padding=pads)
    assert found["x"].shape == (2, 2, 2, 2)
    values = (found["x"].astype(np.uint32) << 16).view(np.float32)
    assert values.tolist() == [
        [[[2, 1], [3, 1]], [[1, 1], [1, 1]]], [[[4, 5], [6, 1]], [[7, 1], [1, 1]]]
    ]  # fmt: skip


BAD_ROWS = {
    "no padding": ([[1, 2], [3]], None, "row 0 has 2 values, row 1 has 1;.*batching.padding"),
    "a bad value": ([[1, 2], ["x"]], PADS, 'got "x" in row 1, column 0'),
    "a list in it": ([[1, 2], [[1]]], PADS, "got a list in row 1, column 0"),
    "a value for a row": ([[1, 2], [3], 4], PADS, "expected a list, got an integer in row 2"),
}


@pytest.mark.parametrize(("rows", "padding", "text"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_what_cannot_be_filled_up_is_named(
    rows: list[Any], padding: Padding | None, text: str
) -> None:
    with pytest.raises(MalformedRequest, match=text):
        arrays({"instances": rows}, signature(IDS), padding=padding)


def test_inputs_that_share_a_length_do_so_in_each_row() -> None:
    body = {"instances": [{"ids": [1, 2], "mask": [1, 1]}, {"ids": [3], "mask": [1, 1]}]}
    with pytest.raises(MalformedRequest, match='length "s", row 1 of "ids" has 1 values'):
        arrays(body, signature(IDS, MASK), padding=PADS)


def test_rows_are_filled_up_to_few_times_what_was_sent() -> None:
    body = json.dumps({"instances": [[1] * 9000, *[[1]] * 20]}).encode()
    problem = r"\[21, 9000\] has 189000 values, 9020 were sent"
    with pytest.raises(MalformedRequest, match=problem):
        v1.decode(body, signature(IDS), PADS)
    body = json.dumps({"instances": [[1] * 9000, *[[1] * 900] * 20]}).encode()
    with pytest.raises(TakesLong):
        v1.decode(body, signature(IDS), PADS, pace=not_here)
    assert arrays(body, signature(IDS), padding=PADS)["ids"].shape == (21, 9000)


@given(st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["age", "city", "x", "columns", "data"]), inner, max_size=3),
    max_leaves=12,
), st.sampled_from(["instances", "inputs", "dataframe_split", "dataframe_records"]),
    st.sampled_from([TWO, WIDE, signature(IDS, MASK)]))  # fmt: skip
def test_whatever_comes_is_read_or_refused(table: Any, form: str, taker: Signature) -> None:
    """No other exception than those that are answered."""
    padding = PADS if taker.inputs[0] is IDS else None
    try:
        tensors = v1.decode(orjson.dumps({form: table}), taker, padding).inputs
    except QuantserveError:
        return
    assert all(type(each) is Tensor for each in tensors)


@given(st.binary(max_size=40) | st.text('ab1,"\n\r .e', max_size=30).map(str.encode))
def test_whatever_comes_as_csv_is_read_or_refused(body: bytes) -> None:
    for form in ("csv", "csv without header"):
        for taker in (TWO, WIDE, signature(spec("x", "BYTES", None))):
            with suppress(QuantserveError):
                v1.decode(body, taker, form=form)  # type: ignore[arg-type]
