"""The best classes of a row, best first, with their labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.api.protocol.classification import classify
from service.core.errors import MalformedRequest
from service.core.tensors import DATATYPES, Array, Tensor


def tensor(array: object, name: str = "FP32") -> Tensor:
    return Tensor("y", DATATYPES[name], np.array(array, DATATYPES[name].dtype))


def test_classes_are_sorted_by_value_with_labels_where_known() -> None:
    found = classify(tensor([[0.1, 0.7, 0.2], [0.5, 0.0, 0.5]]), 2, ["cat", "dog"], True)
    assert found.array.tolist() == [
        ["0.700000:1:dog", "0.200000:2"],
        ["0.500000:0:cat", "0.500000:2"],
    ]


def test_all_values_are_one_row_without_a_batch() -> None:
    assert classify(tensor([[1.0], [3.0]]), 5, [], False).array.tolist() == [
        "3.000000:1",
        "1.000000:0",
    ]


@given(arrays.arrays(np.int64, st.tuples(st.integers(0, 3), st.integers(1, 6))))
def test_integers_are_ordered_exactly(array: Array) -> None:
    found = classify(tensor(array, "INT64"), 6, [], True).array
    for row, texts in zip(array.tolist(), found.tolist(), strict=True):
        values = [int(text.split(":")[0]) for text in texts]
        assert values == sorted(row, reverse=True)


def test_nan_and_infinity_are_sorted_by_value_with_nan_last() -> None:
    found = classify(tensor([[np.nan, 1.0, -np.inf]]), 3, [], True).array.tolist()[0]
    assert [text.split(":")[1] for text in found] == ["1", "2", "0"]


@pytest.mark.parametrize(("array", "name"), [(["a"], "BYTES"), ([True], "BOOL"), (1.0, "FP32")])
def test_outputs_without_classes_are_refused(array: object, name: str) -> None:
    with pytest.raises(MalformedRequest, match="it has no classes"):
        classify(tensor(array, name), 1, [], False)
