"""Errors of ONNX Runtime are attributed to an input, with its value or length."""

import numpy as np
import pytest

from service.core.blame import blamed
from service.core.tensors import DATATYPES, Signature, TensorSpec

IDS = TensorSpec("ids", DATATYPES["INT64"], ("n", "s"))
X = TensorSpec("x", DATATYPES["FP32"], ("n", 4))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("indices element out of data bounds, idx=900 must be within", "holds 900 at [1, 2]"),
        (
            "broadcast an axis by a dimension other than 1. 3 by 512",
            'input "ids" has 3 on axis 1, 512 would fit',
        ),
        ("index 3 is not in range [0, 2)", 'input "ids" has 3 on axis 1, at most 2 would fit'),
        ("something went wrong", 'input "ids" is INT64 [2, 3], input "x" is FP32 [2, 4]'),
    ],
)
def test_errors_name_the_input_and_the_value_or_length(error: str, told: str) -> None:
    ids = np.array([[1, 2, 7], [4, 5, 900]])
    found = blamed(Signature((IDS, X), ()), (ids, np.zeros((2, 4), np.float32)), error)
    assert told in found


def test_a_long_list_of_inputs_is_cut() -> None:
    inputs = tuple(TensorSpec(f"x{i}", DATATYPES["FP32"], ("n", 1)) for i in range(7))
    found = blamed(Signature(inputs, ()), (np.zeros((1, 1)),) * 7, "no")
    assert found.endswith("and 3 more")
