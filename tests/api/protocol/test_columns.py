"""Named columns to the tensors of a model."""

from typing import Any

import pytest

from service.api.protocol.columns import default_names, joint_input, joint_shape, tensors
from service.api.protocol.pace import go_on
from service.core.errors import MalformedRequest
from tests.api.tables import signature, spec

TABLE = signature(spec("x", "FP32", "batch", 3))
APART = signature(spec("age", "FP32", "batch", 1), spec("name", "BYTES", "batch", 1))
OPEN = signature(spec("x", "FP32", "batch", None))


def test_columns_of_other_names_make_up_the_one_input() -> None:
    (x,) = tensors(["a", "b", "c"], [[1, 4], [2, 5], [3, 6]], TABLE, None, go_on)
    assert x.name == "x" and x.array.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_columns_of_their_names_are_inputs_in_any_order() -> None:
    age, name = tensors(["name", "age"], [["a", "b"], [1, 2]], APART, None, go_on)
    assert age.array.tolist() == [[1], [2]] and name.array.tolist() == [["a"], ["b"]]


def test_one_column_may_be_the_input_itself() -> None:
    (x,) = tensors(["x"], [[[1, 2, 3]]], TABLE, None, go_on)
    assert x.array.tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("names", "columns", "told"),
    [
        (["a", "b"], [[1], [2]], "expected 3 columns, got 2"),
        (["a", "b", "c"], [[1], [2], [3, 4]], 'column "c" has 2'),
        (["a", "b", "c"], [[1], ["q"], [3]], '"b"'),
    ],
)
def test_what_does_not_make_up_the_input_is_named(
    names: list[str], columns: list[Any], told: str
) -> None:
    with pytest.raises(MalformedRequest) as refused:
        tensors(names, columns, TABLE, None, go_on)
    assert told in str(refused.value)


@pytest.mark.parametrize("names", [["age"], ["age", "nmae"], ["age", "name", "more"]])
def test_inputs_that_are_missing_or_misspelt_are_named(names: list[str]) -> None:
    with pytest.raises(MalformedRequest, match="column"):
        tensors(names, [[1]] * len(names), APART, None, go_on)


def test_any_number_of_columns_may_make_up_an_open_input() -> None:
    assert joint_input(["a", "b"], OPEN) is OPEN.inputs[0]
    assert joint_input(["x"], OPEN) is OPEN.inputs[0]
    assert joint_input(["x"], OPEN, nested=True) is None
    assert joint_input(["name", "age"], APART) is None


def test_names_and_shapes_where_none_are_given() -> None:
    assert default_names(2, APART) == ["age", "name"]
    assert default_names(3, APART) == ["0", "1", "2"]
    assert joint_shape(TABLE.inputs[0], 4, 3) == [4, 3]
    assert joint_shape(spec("x", "FP32", "batch"), 4, 1) == [4]
