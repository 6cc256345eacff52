"""The position of a value is described by row, and by column if there are columns."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.whereabouts import Labels, whereabouts


@pytest.mark.parametrize(
    ("shape", "index", "labels", "place"),
    [
        ([], 0, Labels(), "the value"),
        ([3], 2, Labels(), "row 2"),
        ([3, 1], 2, Labels(), "row 2"),
        ([4, 3], 5, Labels(), "row 1, column 2"),
        ([4, 2], 5, Labels(("age", "city")), 'row 2, column "city"'),
        ([4, 2], 5, Labels(("age", "city"), first=100), 'row 102, column "city"'),
        ([2, 2, 3], 10, Labels(), "row 1, position [1, 1]"),
    ],
)
def test_positions_are_described_by_row_and_column(
    shape: list[int], index: int, labels: Labels, place: str
) -> None:
    assert whereabouts(shape, index, labels) == place


@given(st.lists(st.integers(1, 4), min_size=3, max_size=4), st.data())
def test_positions_agree_with_numpy_indices(shape: list[int], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, int(np.prod(shape)) - 1))
    row, *rest = map(int, np.unravel_index(index, shape))
    if np.prod(shape[1:]) > 1:
        assert whereabouts(shape, index) == f"row {row}, position {rest}"
