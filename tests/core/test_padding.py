"""Lengths are padded to the next bucket; shared lengths must be equal before padding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.errors import SignatureMismatch
from service.core.padding import Padding

PADDING = Padding(
    (4, 8), (0.0, None), ((True,), (True,)), (), (("sequence", ((0, 1), (1, 1))),)
)  # fmt: skip


@given(st.lists(st.integers(1, 50), unique=True).map(sorted), st.integers(0, 60))
def test_the_smallest_bucket_that_fits_is_chosen(buckets: list[int], length: int) -> None:
    size = Padding(tuple(buckets), (), (), ()).bucket(length)
    holding = [each for each in buckets if each >= length]
    assert size == (holding[0] if holding else length)


def test_only_inputs_with_a_padding_value_are_padded() -> None:
    assert PADDING.row_shape(0, (5,)) == (8,)
    assert PADDING.row_shape(0, (9,)) == (9,)
    assert PADDING.row_shape(1, (5,)) == (5,)


def test_a_shared_length_must_be_the_same() -> None:
    PADDING.check((np.zeros((2, 3)), np.zeros((2, 3))))
    with pytest.raises(SignatureMismatch, match='share the length "sequence", got 3 and 5'):
        PADDING.check((np.zeros((2, 3)), np.zeros((2, 5))))
