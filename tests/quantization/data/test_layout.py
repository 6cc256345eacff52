"""The layout of inputs: rows of one batch, or whole runs."""

import numpy as np
import pytest

from service.core.tensors import DATATYPES, Dim, Signature, TensorSpec
from service.quantization.data.layout import Layout, are_runs, joins, layout_of


def signature(*shapes: tuple[Dim, ...]) -> Signature:
    specs = [TensorSpec(f"i{n}", DATATYPES["FP32"], shape) for n, shape in enumerate(shapes)]
    return Signature(tuple(specs), ())


@pytest.mark.parametrize(
    ("shapes", "layout", "joined"),
    [
        ([("batch", 8)], Layout.ROWS, True),
        ([(None, 8)], Layout.ROWS, True),
        ([("batch", "time"), ("batch", "time")], Layout.ROWS, True),
        ([(1, 8), (1, 3)], Layout.ROWS, False),
        ([("batch", 8), (2, "batch", 4)], Layout.RUNS, False),
        ([(None, None), (2, None, 128), ()], Layout.RUNS, False),
        ([("batch", 8), ()], Layout.RUNS, False),
        ([(4, 8)], Layout.RUNS, False),
        ([("seq", "batch", 8)], Layout.RUNS, False),
        ([("image_batch", 8), ("text_batch", 6)], Layout.APART, False),
        ([("num_nodes", 2), ("num_edges", 2)], Layout.APART, False),
        ([(None, 8), (None, 8)], Layout.UNKNOWN, True),
        ([("n", 8), (1, "n", 4)], Layout.UNKNOWN, False),
        ([], Layout.RUNS, False),
    ],
)
def test_the_first_axes_determine_the_layout(
    shapes: list[tuple[Dim, ...]], layout: Layout, joined: bool
) -> None:
    found = signature(*shapes)
    assert (layout_of(found), joins(found)) == (layout, joined)


@pytest.mark.parametrize(
    ("shapes", "lengths", "runs"),
    [
        ([(None, 2), (None, 2)], [(4, 4)], False),
        ([(None, 2), (None, 2)], [(4, 4), (4, 3)], True),
        ([("steps", 2), (1, "n", 2)], [(9, 1)], True),
        ([("a", 2), ("b", 2)], [(4, 4)], False),
        ([("a", 2), ("b", 2)], [(4, 3)], True),
        ([("a", 2), ("b", 2)], [(4, 4), (4, 4)], True),
        ([("n", 2), ("n", 2)], [(4, 3)], False),
    ],
)
def test_the_data_determine_the_layout_if_the_file_does_not(
    shapes: list[tuple[Dim, ...]], lengths: list[tuple[int, ...]], runs: bool
) -> None:
    found = signature(*shapes)
    feeds = [
        {
            spec.name: np.zeros((length, *[2] * (len(spec.shape) - 1)))
            for spec, length in zip(found.inputs, each, strict=True)
        }
        for each in lengths
    ]
    assert are_runs(feeds, found) == runs
