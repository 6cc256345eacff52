"""Limits on dimensions, nodes and calls of a graph."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.graph_limits import (
    MAX_CALLED_NODES,
    MAX_DIMS,
    MAX_ELEMENTS,
    SIGN,
    Calls,
    Function,
    TooLarge,
    elements,
    expanded_nodes,
)


@given(st.lists(st.integers(0, 50), max_size=5))
def test_elements_are_the_product_of_the_dimensions(dims: list[int]) -> None:
    want = 1
    for dim in dims:
        want *= dim
    assert elements(dims) == want


@pytest.mark.parametrize(
    ("dims", "why"),
    [
        ([2] * 100_000, f"more than {MAX_DIMS} dimensions"),
        ([1] * (MAX_DIMS + 1), "more than 64 dimensions"),
        ([2**64 - 1], "dimension -1 is negative"),
        ([0, SIGN], "is negative"),
        ([-3], "dimension -3 is negative"),
        ([2**62], f"more than {MAX_ELEMENTS} elements"),
        ([2**20] * 3, "elements"),
    ],
)
def test_invalid_dimensions_are_refused(dims: list[int], why: str) -> None:
    with pytest.raises(TooLarge, match=why):
        elements(dims)


def chain(length: int, calls: int) -> dict[Function, Calls]:
    """Return functions that call the next function a given number of times; the last is a node."""
    return {("d", str(i)): {("d", str(i + 1)): calls} for i in range(length)}


def test_functions_count_at_each_call() -> None:
    functions: dict[Function, Calls] = {
        ("d", "f"): {("", "Add"): 1, ("", "Mul"): 1},
        ("d", "g"): {("d", "f"): 2},
    }
    assert expanded_nodes({("", "Relu"): 3, ("d", "g"): 1, ("d", "f"): 1}, functions) == 3 * 2 + 2
    assert expanded_nodes({("", "f"): 1}, functions) == 0  # of another domain


@pytest.mark.parametrize(
    ("functions", "why"),
    [
        (chain(14, 2), f"more than {MAX_CALLED_NODES} nodes"),
        (chain(3, 100), "nodes"),
        (chain(31, 10**6), "nodes"),
        (chain(33, 1), "nested more than"),
        ({("d", "0"): {("d", "0"): 1}}, "calls of function '0' are nested"),
        ({("d", "0"): {("d", "1"): 1}, ("d", "1"): {("d", "0"): 1, ("", "Add"): 1}}, "nested"),
    ],
)
def test_exponentially_nested_functions_are_refused(
    functions: dict[Function, Calls], why: str
) -> None:
    with pytest.raises(TooLarge, match=why):
        expanded_nodes({("d", "0"): 1}, functions)


def test_graphs_at_the_limits_are_accepted() -> None:
    assert expanded_nodes({("d", "0"): 1}, chain(13, 2)) == 2**14 - 2
    assert expanded_nodes({("d", "0"): 1}, chain(31, 1)) == 31
