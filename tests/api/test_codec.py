"""Bytes to requests and back: what fits survives, what does not is named."""

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.api.codec import decode, encode
from service.core.errors import MalformedRequest
from service.core.requests import InferResponse
from service.core.tensors import DATATYPES, Tensor

NUMERIC = [name for name in DATATYPES if name not in ("BYTES", "BF16")]


def request(**changes: Any) -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2.5]} | changes
    return orjson.dumps({"inputs": [{k: v for k, v in tensor.items() if v is not None}]})


@given(st.sampled_from(NUMERIC), st.data(), st.booleans())
def test_a_tensor_survives_both_forms(name: str, data: st.DataObject, binary: bool) -> None:
    datatype = DATATYPES[name]
    elements = arrays.from_dtype(datatype.dtype)
    array = data.draw(arrays.arrays(datatype.dtype, (2, 3), elements=elements))
    body, length = encode(InferResponse("m", 1, (Tensor("x", datatype, array),)), [binary])
    head = json.loads(body[:length])
    again = json.dumps({"inputs": head["outputs"]}).encode()
    raw = body[length:] if length else b""
    got = decode(again + raw, len(again) if binary else None).inputs[0]
    assert got.array.dtype == array.dtype
    np.testing.assert_array_equal(got.array, array)


@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=5), st.booleans())
def test_strings_survive_both_forms(values: list[str], binary: bool) -> None:
    array = np.array(values, dtype=object)
    tensor = Tensor("x", DATATYPES["BYTES"], array)
    body, length = encode(InferResponse("m", 1, (tensor,)), [binary])
    again = orjson.dumps({"inputs": orjson.loads(body[:length])["outputs"]})
    raw = body[length:] if length else b""
    got = decode(again + raw, len(again) if binary else None).inputs[0]
    assert got.array.tolist() == values


BAD = {
    "not JSON": (b"{", "not JSON"),
    "a list": (b"[]", "a list, expected an object"),
    "no inputs": (b"{}", '"inputs"'),
    "infinity": (b'{"inputs":[{"data":[1e999]}]}', "not JSON"),
    "another spelling of NaN": (b'{"inputs":[{"data":[nan]}]}', "not JSON"),
    "NaN for an integer": (
        b'{"inputs":[{"name":"x","datatype":"INT8","shape":[1],"data":[NaN]}]}',
        "-128 to 127, got NaN",
    ),
    "null for an integer": (request(datatype="INT8", data=[0, None]), "got null"),
    "null for a boolean": (request(datatype="BOOL", data=[None, True]), "got null"),
    "null for a string": (request(datatype="BYTES", data=["", None]), "got null"),
    "a string beside null": (request(data=[None, "NaN"]), 'number values, got "NaN"'),
    "a shape that is no number": (
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[-Infinity],"data":[1]}]}',
        "got -Infinity",
    ),
    "an id that is no number": (request()[:-1] + b',"id":NaN}', '"id" must be a string'),
    "another way to write NaN": (
        request()[:-1] + b',"parameters":{"non_finite":"nil"}}',
        'must be "literal" or "null"',
    ),
    "deep nesting": (b"[" * 100_000, "not JSON"),
    "no name": (request(name=None), '"name"'),
    "a datatype nobody knows": (request(datatype="FP31"), "FP31"),
    "a datatype that is a list": (request(datatype=["FP32"]), "FP32"),
    "negative length": (request(shape=[-1, 2]), "shape"),
    "huge length": (request(shape=[2**40, 2**40]), "needs"),
    "boolean length": (request(shape=[True, 2]), "shape"),
    "too few values": (request(data=[1]), "1 values"),
    "wrong nesting": (request(shape=[2, 1], data=[[1, 2]]), "axis 0"),
    "a string for a number": (request(data=["1", 2]), 'number values, got "1"'),
    "a boolean for a number": (request(data=[True, 2]), "number values, got true"),
    "a number past FP32": (request(data=[1e300, 2]), "too large"),
    "an integer past INT8": (request(datatype="INT8", data=[300, 2]), "-128 to 127, got 300"),
    "a fraction for an integer": (request(datatype="INT8", data=[1.5, 2]), "got 1.5"),
    "no data": (request(data=None), '"data"'),
    "binary data that is not there": (
        request(parameters={"binary_data_size": 8}),
        "binary_data_size 8",
    ),
}


@pytest.mark.parametrize(("body", "text"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_named(body: bytes, text: str) -> None:
    with pytest.raises(MalformedRequest, match=text):
        decode(body)


@pytest.mark.parametrize("length", [5, 10**9])
def test_a_header_length_that_lies_is_found(length: int) -> None:
    with pytest.raises(MalformedRequest):
        decode(request(), length)
