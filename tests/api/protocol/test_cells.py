"""Text cells are parsed to values; errors name the row and column."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.protocol.cells import cells_array
from service.core.errors import MalformedRequest
from service.core.tensors import DATATYPES, TensorSpec
from service.core.whereabouts import Labels


def read(name: str, *cells: str, first: int = 0) -> list:
    spec = TensorSpec("x", DATATYPES[name], ("n", 1))
    return cells_array(spec, [len(cells), 1], cells, Labels(("age",), first)).ravel().tolist()


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_integers(values: list[int]) -> None:
    assert read("INT64", *map(str, values)) == values


@given(st.lists(st.floats(allow_nan=False), min_size=1))
def test_floats(values: list[float]) -> None:
    assert read("FP64", *map(repr, values)) == values


def test_other_spellings() -> None:
    assert read("INT32", " 3 ", "3.0", "3e2") == [3, 3, 300]
    assert read("BOOL", "true", " FALSE ") == [True, False]
    assert read("BYTES", "", " a ") == ["", " a "]
    assert math.isnan(read("FP32", "")[0])
    assert read("FP32", "inf", "-Infinity") == [math.inf, -math.inf]


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("INT32", "3.5"), ("INT32", ""), ("INT32", "1_000"), ("FP32", "1_0"), ("FP32", "x"),
        ("FP64", "1e999"), ("BOOL", "1"), ("BOOL", ""),
    ],
)  # fmt: skip
def test_invalid_cells_are_refused_with_row_and_column(name: str, cell: str) -> None:
    good = {"BOOL": "true"}.get(name, "1")
    with pytest.raises(MalformedRequest, match='in row 11$|row 11, column "age"'):
        read(name, good, cell, first=10)
