"""The server reads the requests of both formats as they were meant."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.api.protocol import codec
from service.bench.bodies import LENGTH, Request, binary_body, json_body
from service.core.tensors import DATATYPES, Tensor


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    datatype = DATATYPES[draw(st.sampled_from(sorted(DATATYPES)))]
    shape = draw(st.lists(st.integers(1, 3), max_size=3))
    count = int(np.prod(shape))
    if datatype.name == "BYTES":
        words = draw(st.lists(st.text(max_size=5), min_size=count, max_size=count))
        array = np.array(words, object).reshape(shape)
    else:
        numbers = draw(st.lists(st.integers(0, 100), min_size=count, max_size=count))
        array = np.array(numbers).astype(datatype.dtype).reshape(shape)
        if datatype.name == "BF16":
            array = (array.astype(np.float32).reshape(-1).view(np.uint32) >> 16).astype(np.uint16)
            array = array.reshape(shape)
    return Tensor("x", datatype, array)


@given(tensors())
def test_both_formats_are_read_as_the_same_tensor(tensor: Tensor) -> None:
    request = Request((tensor,), {"id": "a", "outputs": [{"name": "y"}]})
    raw = binary_body(request)
    for body, length in ((json_body(request), None), (raw, int(raw.headers[LENGTH]))):
        read = codec.decode(body.content, length)
        assert read.id == "a"
        assert read.binary_outputs is (length is not None)
        (found,) = read.inputs
        assert (found.name, found.datatype) == (tensor.name, tensor.datatype)
        assert found.array.shape == tensor.array.shape
        assert (found.array == tensor.array).all()


def test_given_json_is_sent_unchanged() -> None:
    text = b'{ "inputs" : [] }'
    assert json_body(Request((), {}, text)).content == text


def test_classes_are_requested_in_the_binary_format_too() -> None:
    output = {"name": "y", "parameters": {"classification": 3, "binary_data": False}}
    body = binary_body(Request((), {"outputs": [output]}))
    (found,) = json.loads(body.content)["outputs"]
    assert found == {"name": "y", "parameters": {"classification": 3}}


def test_rows_are_repeated_in_order() -> None:
    x = Tensor("x", DATATYPES["FP32"], np.float32([[1, 2], [3, 4]]))
    scalar = Tensor("s", DATATYPES["INT64"], np.array(7))
    found = Request((x, scalar)).with_rows(3).inputs
    assert found[0].array.tolist() == [[1, 2], [3, 4], [1, 2]]
    assert found[1].array.shape == ()
