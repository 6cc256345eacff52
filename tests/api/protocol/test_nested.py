"""Rows of different lengths are padded by the model's settings, within limits."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.protocol import v1
from service.api.protocol.pace import TakesLong, not_here
from service.core.errors import MalformedRequest
from service.core.padding import Padding
from tests.api.tables import IDS, MASK, PADS, arrays, same, signature, spec


@given(st.lists(st.lists(st.integers(0, 99), max_size=6), min_size=1, max_size=5))
def test_rows_of_different_lengths_are_padded(rows: list[list[int]]) -> None:
    longest = max(map(len, rows))
    records = [{"ids": row, "mask": [1] * len(row)} for row in rows]
    found = arrays({"instances": records}, signature(IDS, MASK), padding=PADS)
    assert found["ids"].tolist() == [row + [9] * (longest - len(row)) for row in rows]
    assert found["mask"].tolist() == [[1] * len(r) + [0] * (longest - len(r)) for r in rows]
    alone = Padding((4,), (9,), ((True,),), ((),))
    same(arrays({"instances": rows}, signature(IDS), padding=alone), {"ids": found["ids"]})


def test_several_axes_of_any_datatype_are_padded() -> None:
    taker = signature(spec("x", "BF16", "n", "s", 2, "t"))
    ones = float(np.float32(1).view(np.uint32) >> 16)
    pads = Padding((4,), (ones,), ((True, False, True),), ((),))
    found = arrays({"instances": [[[[2], [3]]], [[[4, 5], [6]], [[7], []]]]}, taker, padding=pads)
    assert found["x"].shape == (2, 2, 2, 2)
    values = (found["x"].astype(np.uint32) << 16).view(np.float32)
    assert values.tolist() == [
        [[[2, 1], [3, 1]], [[1, 1], [1, 1]]], [[[4, 5], [6, 1]], [[7, 1], [1, 1]]]
    ]  # fmt: skip


BAD_ROWS = {
    "no padding": ([[1, 2], [3]], None, "row 0 has 2 values, row 1 has 1;.*batching.padding"),
    "a bad value": ([[1, 2], ["x"]], PADS, 'got "x" in row 1, column 0'),
    "a list in it": ([[1, 2], [[1]]], PADS, "got a list in row 1, column 0"),
    "a value for a row": ([[1, 2], [3], 4], PADS, "expected a list, got an integer in row 2"),
}


@pytest.mark.parametrize(("rows", "padding", "text"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_rows_that_cannot_be_padded_are_refused_with_the_reason(
    rows: list[Any], padding: Padding | None, text: str
) -> None:
    with pytest.raises(MalformedRequest, match=text):
        arrays({"instances": rows}, signature(IDS), padding=padding)


def test_inputs_with_a_common_axis_must_have_equal_lengths_in_each_row() -> None:
    body = {"instances": [{"ids": [1, 2], "mask": [1, 1]}, {"ids": [3], "mask": [1, 1]}]}
    with pytest.raises(MalformedRequest, match='length "s", row 1 of "ids" has 1 values'):
        arrays(body, signature(IDS, MASK), padding=PADS)


def test_padding_is_limited_to_a_few_times_the_values_sent() -> None:
    body = json.dumps({"instances": [[1] * 9000, *[[1]] * 20]}).encode()
    problem = r"\[21, 9000\] has 189000 values, 9020 were sent"
    with pytest.raises(MalformedRequest, match=problem):
        v1.decode(body, signature(IDS), PADS)
    body = json.dumps({"instances": [[1] * 9000, *[[1] * 900] * 20]}).encode()
    with pytest.raises(TakesLong):
        v1.decode(body, signature(IDS), PADS, pace=not_here)
    assert arrays(body, signature(IDS), padding=PADS)["ids"].shape == (21, 9000)
