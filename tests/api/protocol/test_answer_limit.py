"""An answer is refused before it is built if it is above the limit, and only then."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.api.protocol import codec, v1
from service.api.protocol.answer_limit import is_slight, slight, v1_size, v2_size
from service.core.errors import ResponseTooLarge
from service.core.requests import InferRequest, InferResponse, RequestedOutput
from service.core.tensors import DATATYPES, Tensor

NUMBERS = ["BOOL", "INT8", "UINT64", "FP16", "FP32", "FP64"]


def tensor(count: int, value: float = 0.0, name: str = "FP32") -> Tensor:
    return Tensor("y", DATATYPES[name], np.full((count, 1), value, DATATYPES[name].dtype))


@given(st.sampled_from(NUMBERS), st.booleans(), st.data())
def test_an_answer_is_no_larger_than_estimated(
    name: str, binary: bool, data: st.DataObject
) -> None:
    dtype = DATATYPES[name].dtype
    shape = data.draw(arrays.array_shapes(max_dims=3, max_side=4))
    outputs = tuple(
        Tensor(each, DATATYPES[name], data.draw(arrays.arrays(dtype, shape))) for each in "yz"
    )
    request = InferRequest((), id=data.draw(st.text(max_size=3)), binary_outputs=binary)
    response = InferResponse("m", 1, outputs, request.id)
    body, _ = codec.encode(response, [binary] * 2)
    assert len(body) <= v2_size(request, outputs, [(), ()], True, 2**20).answer
    assert len(v1.encode(response)) <= v1_size(outputs, 2**20).answer


@pytest.mark.parametrize("value", [0.0, np.nan, -np.inf, 1 / 3])
def test_the_text_is_measured_if_its_longest_form_would_not_fit(value: float) -> None:
    """A million zeros are "0.0,", four bytes each, although a number may have twenty bytes."""
    outputs = (tensor(2**18, value),)
    size = len(codec.encode(InferResponse("m", 1, outputs), [False])[0])
    assert size <= v2_size(InferRequest(()), outputs, [()], True, 3 * size // 2).answer
    with pytest.raises(ResponseTooLarge, match=f"bytes, at most {size // 2} are allowed"):
        v2_size(InferRequest(()), outputs, [()], True, size // 2)
    nested = len(v1.encode(InferResponse("m", 1, outputs)))
    assert nested <= v1_size(outputs, 2 * nested).answer
    with pytest.raises(ResponseTooLarge, match="--max-response-bytes"):
        v1_size(outputs, nested // 2)


def test_sizes_of_raw_tensors_are_exact() -> None:
    outputs = (tensor(1000),)
    request = InferRequest((), binary_outputs=True)
    size = v2_size(request, outputs, [()], True, 2**20).answer
    assert 4000 < size < 5000
    with pytest.raises(ResponseTooLarge, match=f"would have about {size} bytes"):
        v2_size(request, outputs, [()], True, size - 1)


def test_classes_count_by_their_texts() -> None:
    request = InferRequest((), (RequestedOutput("y", 10**30),))
    outputs = (Tensor("y", DATATYPES["FP32"], np.zeros((10, 1000), np.float32)),)
    assert v2_size(request, outputs, [()], True, 2**20).answer > 10_000 * len('"0.000000:0",')
    with pytest.raises(ResponseTooLarge):
        v2_size(request, outputs, [("a label" * 100,)], True, 2**20)


def test_only_small_answers_are_not_measured() -> None:
    small, ids = (np.zeros(10, np.float32),), "x" * 1000
    assert is_slight(InferRequest(()), small, slight(2**20))
    assert not is_slight(InferRequest(()), small, slight(100))
    assert not is_slight(InferRequest((), id=ids), small, slight(2**20))
    assert not is_slight(InferRequest((), (RequestedOutput("y", 3),)), small, slight(2**20))
    assert not is_slight(InferRequest(()), (np.array(["a" * 2**20], object),), slight(2**20))
    assert not is_slight(InferRequest(()), (np.empty((2**20, 0), np.float32),), slight(2**20))
