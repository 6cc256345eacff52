"""Inputs up to the measured size may run in the event loop."""

import numpy as np
import pytest

from service.core.extent import SHORT_STRING, Axis, Extent, measured_extent
from service.core.padding import Padding
from service.core.tensors import DATATYPES, Arrays, Dim, Overriding, Signature, TensorSpec


def spec(*shape: Dim, kind: str = "FP32", ranked: bool = True) -> TensorSpec:
    return TensorSpec("x", DATATYPES[kind], shape, ranked)


def zeros(*shapes: tuple[int, ...]) -> Arrays:
    return tuple(np.zeros(shape, np.float32) for shape in shapes)


ROWS = Signature((spec("batch", 4),), ())
TEXT = Signature((spec("batch", "n"),), ())
WHOLE = Signature((spec(1, "n"),), ())


@pytest.mark.parametrize(
    ("signature", "row", "held", "not_held"),
    [
        (ROWS, (1, 4), [(1, 4), (16, 4), (0, 4)], [(17, 4)]),
        # As many elements as were measured, and far more work for what attends to all of a row.
        (TEXT, (1, 8), [(16, 8), (1, 8)], [(1, 9), (1, 128)]),
        (WHOLE, (1, 8), [(1, 8), (1, 0)], [(1, 9)]),
    ],
)
def test_inputs_with_a_longer_axis_are_outside_the_extent(
    signature: Signature,
    row: tuple[int, ...],
    held: list[tuple[int, ...]],
    not_held: list[tuple[int, ...]],
) -> None:
    found = measured_extent(signature, zeros(row), 16)
    assert found is not None
    assert [found.holds(zeros(each)) for each in held] == [True] * len(held)
    assert [found.holds(zeros(each)) for each in not_held] == [False] * len(not_held)


def test_an_input_without_a_shape_has_no_extent() -> None:
    assert measured_extent(Signature((spec(ranked=False),), ()), zeros((3,)), 1) is None


def test_strings_are_bounded_by_their_length() -> None:
    signature = Signature((spec("batch", kind="BYTES"),), ())
    found = measured_extent(signature, (np.array([b"short"], object),), 4)
    assert found is not None
    for length, held in ((SHORT_STRING, True), (SHORT_STRING + 1, False)):
        assert found.holds((np.array([b"a", b"x" * length], object),)) is held


def test_overridden_constants_are_outside_the_extent() -> None:
    extent = Extent((Axis(0, 0, 4),))
    assert extent.holds(zeros((1, 4)))
    assert not extent.holds(Overriding(zeros((1, 4)), {"w": np.zeros(10**6)}))


def test_a_length_counts_as_its_padding_bucket() -> None:
    padding = Padding((4, 16, 64), (0.0,), ((True,),), ())
    found = measured_extent(TEXT, zeros((1, 20)), 8, padding)
    assert found is not None and found.axes == (Axis(0, 0, 8), Axis(0, 1, 16))
    assert found.holds(zeros((1, 16))) and not found.holds(zeros((1, 17)))
