"""CSV is read as common programs write it; errors name the row and column."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.protocol import csv_table, v1
from service.api.protocol.csv_table import body_format
from service.core.errors import MalformedRequest, QuantserveError
from service.core.sizes import MAX_JSON_VALUES
from service.core.tensors import Signature
from tests.api.tables import TWO, WIDE, arrays, signature, spec


def test_csv_without_its_content_type_is_refused_with_a_hint() -> None:
    with pytest.raises(MalformedRequest, match="not JSON.*CSV needs the Content-Type text/csv"):
        v1.decode(b"age,city\n1,Paris\n", TWO)


BAD_CSV = {
    "nothing": (TWO, "", "the CSV is empty"),
    "blank lines": (TWO, "\n\n", "the CSV is empty"),
    "no rows": (TWO, "age,city\n", "no row after"),
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
def test_invalid_csv_is_refused_with_the_reason(taker: Signature, text: str, problem: str) -> None:
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
    indexed = b"city,,age\n"  # only the first column without a name is an index
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


def test_csv_with_too_many_cells_is_refused_before_parsing() -> None:
    csv_table.check_size(b"a\n" + b"1\n" * (MAX_JSON_VALUES - 1))
    for body in (b"1\n" * (MAX_JSON_VALUES + 1), b"1,1\r\n" * (MAX_JSON_VALUES // 2 + 1)):
        with pytest.raises(MalformedRequest, match=f"at most {MAX_JSON_VALUES} are allowed"):
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
def test_the_content_type_states_the_form_of_a_body(content_type: bytes, form: str) -> None:
    assert body_format(content_type) == form


def test_csv_in_another_charset_is_refused() -> None:
    with pytest.raises(MalformedRequest, match='charset "latin-1", expected utf-8'):
        body_format(b"text/csv; charset=latin-1")


@given(st.binary(max_size=40) | st.text('ab1,"\n\r .e', max_size=30).map(str.encode))
def test_any_csv_is_read_or_refused(body: bytes) -> None:
    for form in ("csv", "csv without header"):
        for taker in (TWO, WIDE, signature(spec("x", "BYTES", None))):
            with suppress(QuantserveError):
                v1.decode(body, taker, form=form)  # type: ignore[arg-type]
