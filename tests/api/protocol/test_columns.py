"""Columns are inputs of the same names, or in their order the values of the only input."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.protocol.columns import default_names, joint_input, joint_shape, tensors
from service.api.protocol.pace import go_on
from service.core.errors import MalformedRequest
from service.core.padding import Padding
from service.core.tensors import Signature
from tests.api.tables import IDS, MASK, PADS, TWO, WIDE, signature, spec

ANY_WIDTH = signature(spec("x", "FP32", "n", None))
FLAT = signature(spec("x", "FP32", "n"))
IMAGE = signature(spec("x", "FP32", "n", 3, 2))


def read(
    names: list[str], columns: list[Any], taker: Signature, padding: Padding | None = None
) -> dict[str, Any]:
    made = tensors(names, columns, taker, padding, go_on)
    assert [each.name for each in made] == [each.name for each in taker.inputs]
    return {each.name: each.array.tolist() for each in made}


@given(st.permutations(["age", "city"]), st.booleans())
def test_columns_are_matched_to_inputs_by_name_in_any_order(names: list[str], nest: bool) -> None:
    columns = {"age": [1, 2], "city": ["Oslo", "Rome"]}
    given_columns = [
        [[value] for value in columns[name]] if nest else columns[name] for name in names
    ]
    assert read(names, given_columns, TWO) == {"age": [[1], [2]], "city": [["Oslo"], ["Rome"]]}


@given(st.lists(st.lists(st.integers(-9, 9), min_size=3, max_size=3), min_size=1, max_size=4))
def test_columns_of_other_names_are_the_values_of_a_row(rows: list[list[int]]) -> None:
    columns = [list(column) for column in zip(*rows, strict=True)]
    for taker in (WIDE, ANY_WIDTH):
        assert read(["c", "a", "b"], columns, taker) == {"x": rows}


@pytest.mark.parametrize(
    ("names", "taker", "joint"),
    [
        (["a", "b", "c"], WIDE, True),
        (["a", "b"], ANY_WIDTH, True),
        (["a"], FLAT, True),
        (["x"], FLAT, False),
        (["x"], WIDE, False),
        (["x"], ANY_WIDTH, True),
        (["city", "age"], TWO, False),
    ],
)
def test_which_columns_are_joined_to_one_input(
    names: list[str], taker: Signature, joint: bool
) -> None:
    assert (joint_input(names, taker) is not None) is joint


def test_one_column_of_rows_is_the_input_itself() -> None:
    assert joint_input(["x"], ANY_WIDTH, nested=True) is None
    assert read(["x"], [[[1, 2], [3, 4]]], ANY_WIDTH) == {"x": [[1, 2], [3, 4]]}


@pytest.mark.parametrize(
    ("names", "taker", "why"),
    [
        (["age", "citty"], TWO, 'unknown column "citty".*the model takes'),
        (["age"], TWO, 'column "city" is missing'),
        (["x", "y"], WIDE, 'unknown column "y"'),
        (["a", "b"], WIDE, r"expected 3 columns, got 2: \"a\", \"b\""),
        (["a", "b"], IMAGE, "column"),
    ],
)
def test_columns_that_match_no_input_are_named_in_the_error(
    names: list[str], taker: Signature, why: str
) -> None:
    with pytest.raises(MalformedRequest, match=why):
        joint_input(names, taker)


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(MalformedRequest, match='column "a" has 2 rows, column "c" has 1'):
        read(["a", "b", "c"], [[1, 2], [1, 2], [1]], WIDE)


def test_errors_name_the_row_and_column_of_a_value() -> None:
    with pytest.raises(MalformedRequest, match='got "z" in row 1, column "b"'):
        read(["a", "b", "c"], [[1, 2], [1, "z"], [1, 2]], WIDE)


def test_an_input_without_axes_accepts_a_scalar() -> None:
    scalar = signature(spec("k", "INT64"), spec("x", "FP32", "n", 1))
    assert read(["k", "x"], [5, [1.0]], scalar) == {"k": 5, "x": [[1.0]]}
    with pytest.raises(MalformedRequest, match='column "x" must be a list.*got a number'):
        read(["k", "x"], [5, 1.5], scalar)


def test_inputs_with_a_common_axis_are_padded_to_the_same_length() -> None:
    both = signature(IDS, MASK)
    found = read(["ids", "mask"], [[[1, 2], [3]], [[1, 1], [1]]], both, PADS)
    assert found == {"ids": [[1, 2], [3, 9]], "mask": [[1, 1], [1, 0]]}
    with pytest.raises(MalformedRequest, match='length "s", row 0 of "ids" has 2.*"mask" has 1'):
        read(["ids", "mask"], [[[1, 2], [3]], [[1], [1]]], both, PADS)


def test_unnamed_columns_get_the_names_of_the_inputs_or_numbers() -> None:
    assert default_names(2, TWO) == ["age", "city"]
    assert default_names(3, WIDE) == ["0", "1", "2"]


def test_the_shape_of_joined_columns() -> None:
    assert joint_shape(FLAT.inputs[0], 4, 1) == [4]
    assert joint_shape(WIDE.inputs[0], 4, 3) == [4, 3]
    assert np.prod(joint_shape(ANY_WIDTH.inputs[0], 4, 2)) == 8
