"""The estimated size of an answer is never below its real size."""

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.api.protocol.binary_tensors import to_bytes
from service.api.protocol.classification import classify
from service.api.protocol.json_tensors import to_json
from service.core.answer_size import (
    brackets,
    class_size,
    classes_count,
    json_size,
    nested_size,
    raw_size,
    text_size,
)
from service.core.tensors import DATATYPES, Tensor

TEXTS = st.text(st.characters(codec="utf-8"), max_size=5)
SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    name = draw(st.sampled_from(list(DATATYPES)))
    datatype, shape = DATATYPES[name], draw(SHAPES)
    if name == "BYTES":
        array = draw(arrays.arrays(object, shape, elements=TEXTS))
    else:
        array = draw(arrays.arrays(datatype.dtype, shape))
    return Tensor("x", datatype, array)


def dumps(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


@given(tensors())
def test_no_form_of_a_tensor_is_larger_than_its_bound(tensor: Tensor) -> None:
    # Around flat lists are brackets, of which the frame of the output has room.
    assert len(dumps(to_json(tensor))) <= json_size(tensor) + 2
    assert len(dumps(tensor.array.tolist())) <= nested_size(tensor) + 2
    raw = len(to_bytes(tensor))
    assert raw <= raw_size(tensor)
    assert raw == raw_size(tensor) or tensor.datatype.name == "BYTES"


@given(TEXTS)
def test_a_text_is_no_larger_than_its_bound(text: str) -> None:
    assert len(dumps(text)) <= text_size(text)


@given(st.sampled_from(["FP16", "FP32", "FP64", "INT8", "UINT64"]), st.data())
def test_classes_are_no_larger_than_their_bound(name: str, data: st.DataObject) -> None:
    datatype = DATATYPES[name]
    shape = data.draw(arrays.array_shapes(min_dims=1, max_dims=3, max_side=4))
    tensor = Tensor("y", datatype, data.draw(arrays.arrays(datatype.dtype, shape)))
    labels = data.draw(st.lists(TEXTS, max_size=20))
    classes, batched = data.draw(st.integers(1, 2**70)), data.draw(st.booleans())
    found = classify(tensor, classes, labels, batched)
    assert found.array.size == classes_count(tensor, classes, batched)
    assert len(dumps(found.array.ravel().tolist())) <= (
        found.array.size * class_size(tensor, labels) + 2
    )


def test_empty_lists_are_counted() -> None:
    empty = Tensor("x", DATATYPES["FP32"], np.empty((1000, 0), np.float32))
    assert len(dumps(empty.array.tolist())) <= brackets((1000, 0)) == nested_size(empty)
