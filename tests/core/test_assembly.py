"""Rows of requests are assembled to a batch, and the outputs are split by request."""

from dataclasses import replace

import numpy as np
import pytest

from service.core.assembly import assemble, split
from service.core.batching import BatchKey, Entry
from service.core.errors import ExecutionFailed
from service.core.padding import Padding


def entry(rows: int, value: float = 0.0) -> Entry[None]:
    arrays = (np.full((rows, 2), value, np.float32),)
    return Entry(arrays, rows, BatchKey(((2,),), None), 2, 0.0, None, None)


def test_split_returns_each_requests_rows() -> None:
    entries = (entry(2, 1.0), entry(1, 2.0))
    inputs, filled = assemble(entries, None)
    parts = split(entries, inputs, None)
    assert filled == 0.0
    assert [part[0].tolist() for part in parts] == [[[1, 1], [1, 1]], [[2, 2]]]


def test_an_output_without_a_row_for_each_row_is_an_error() -> None:
    with pytest.raises(ExecutionFailed, match=r"shape \[1\] for a batch of 2 rows"):
        split((entry(2),), (np.zeros(1),), None)


def test_rows_are_padded_to_the_longest_row_or_to_the_bucket() -> None:
    def long(length: int) -> Entry[None]:
        array = np.ones((1, length), np.float32)
        return Entry((array,), 1, BatchKey(((8,),), None), 2, 0.0, None, None)

    padding = Padding((8,), (0.0,), ((True,),), ())
    entries = (long(3), long(5))
    (filled,), share = assemble(entries, padding)
    assert filled.shape == (2, 8) and share == 0.5
    (tight,), share = assemble(entries, replace(padding, tight=True))
    assert tight.tolist() == [[1, 1, 1, 0, 0], [1] * 5] and share == pytest.approx(0.2)
    (alone,), share = assemble(entries[:1], replace(padding, tight=True))
    assert alone is entries[0].arrays[0] and share == 0
