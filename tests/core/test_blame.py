"""The input that an error speaks of is named, with its value or the length of its axis."""

import numpy as np
import pytest

from service.core.blame import blamed
from service.core.tensors import DATATYPES, Signature, TensorSpec

IDS = TensorSpec("ids", DATATYPES["INT64"], ("batch", "sequence"))
MASK = TensorSpec("mask", DATATYPES["FP32"], ("batch", "length"))
SIGNATURE = Signature((IDS, MASK), ())
INPUTS = (np.arange(24).reshape(2, 12), np.zeros((2, 12), np.float32))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("idx=17 must be within the range [-8,7]", 'input "ids" holds 17 at [1, 5]'),
        ("invalid index found, index = 3", 'input "ids" holds 3 at [0, 3]'),
        ("position_ids value 5 at index 2", 'input "ids" holds 5 at [0, 5]'),
        (
            "Attempting to broadcast an axis by a dimension other than 1. 8 by 12",
            'input "ids" has 12 on axis 1, 8 would fit, input "mask" has 12 on axis 1, 8 would fit',
        ),
        (
            "shape:{2,12}, requested shape:{2,-1,8}",
            'input "ids" has 12 on axis 1, input "mask" has 12 on axis 1',
        ),
        ("it is wrong", 'input "ids" is INT64 [2, 12], input "mask" is FP32 [2, 12]'),
    ],
)
def test_the_input_is_named(error: str, told: str) -> None:
    assert blamed(SIGNATURE, INPUTS, error) == told


@pytest.mark.parametrize(("reach", "fits"), [("[-8,7]", 8), ("[0, 6)", 6)])
def test_an_index_that_no_input_holds_comes_from_a_length(reach: str, fits: int) -> None:
    signature = Signature((IDS,), ())
    error = f"idx=8 must be within the range {reach}"
    found = blamed(signature, (np.ones((2, 12), np.int64),), error)
    assert found == f'input "ids" has 12 on axis 1, at most {fits} would fit'


def test_not_all_of_many_inputs_are_named() -> None:
    specs = tuple(TensorSpec(f"x{i}", DATATYPES["FP32"], ("n", "m")) for i in range(7))
    found = blamed(Signature(specs, ()), (np.zeros((1, 2)),) * 7, "it is wrong")
    assert found.endswith('input "x3" is FP32 [1, 2], and 3 more')
