"""Tensors in typed fields are decoded exactly; wrong values are refused with the reason."""

from typing import Any

import pytest
from tritonclient.grpc.service_pb2 import ModelInferRequest

from service.api.grpc.typed import array_of, has_contents
from service.core.datatypes import DATATYPES
from service.core.errors import MalformedRequest

EXACT: list[tuple[str, str, list[Any]]] = [
    ("BOOL", "bool_contents", [True, False]),
    ("INT8", "int_contents", [-128, 127]),
    ("INT16", "int_contents", [-(2**15), 2**15 - 1]),
    ("INT32", "int_contents", [-(2**31), 2**31 - 1]),
    ("INT64", "int64_contents", [-(2**63), 2**63 - 1]),
    ("UINT8", "uint_contents", [0, 255]),
    ("UINT16", "uint_contents", [0, 2**16 - 1]),
    ("UINT32", "uint_contents", [0, 2**32 - 1]),
    ("UINT64", "uint64_contents", [0, 2**64 - 1]),
    ("FP32", "fp32_contents", [1.5, float("inf")]),
    ("FP64", "fp64_contents", [0.1, -1e300]),
    ("BYTES", "bytes_contents", ["é", ""]),
]


def given(field: str, values: list[Any]) -> Any:
    tensor = ModelInferRequest.InferInputTensor(name="x")
    sent = [v.encode() if isinstance(v, str) else v for v in values]
    getattr(tensor.contents, field).extend(sent)
    return tensor


@pytest.mark.parametrize(("name", "field", "values"), EXACT)
def test_values_are_decoded_exactly(name: str, field: str, values: list[Any]) -> None:
    array = array_of(given(field, values), DATATYPES[name], (2, 1))
    assert array.dtype == DATATYPES[name].dtype
    assert array.tolist() == [[each] for each in values]


BAD: list[tuple[str, str, list[Any], str]] = [
    ("INT8", "int_contents", [1, 128], "got 128 in"),
    ("UINT16", "uint_contents", [2**16, 1], "from 0 to 65535, got 65536"),
    ("FP32", "fp64_contents", [1.0, 2.0], 'values in "fp64_contents", expected "fp32_contents"'),
    ("FP32", "fp32_contents", [1.0], "1 values"),
    ("FP16", "fp32_contents", [1.0, 2.0], "raw_input_contents"),
]


@pytest.mark.parametrize(("name", "field", "values", "text"), BAD)
def test_values_that_do_not_fit_are_refused_with_the_reason(
    name: str, field: str, values: list[Any], text: str
) -> None:
    with pytest.raises(MalformedRequest, match=text):
        array_of(given(field, values), DATATYPES[name], (2,))


def test_strings_are_utf8() -> None:
    tensor = ModelInferRequest.InferInputTensor(name="x")
    tensor.contents.bytes_contents.append(b"\xff")
    with pytest.raises(MalformedRequest, match="not UTF-8"):
        array_of(tensor, DATATYPES["BYTES"], (1,))


def test_empty_contents_count_as_missing() -> None:
    tensor = ModelInferRequest.InferInputTensor(name="x")
    assert not has_contents(tensor)
    tensor.contents.SetInParent()
    assert not has_contents(tensor)
    assert has_contents(given("bool_contents", [False]))
    assert array_of(tensor, DATATYPES["FP32"], (0, 3)).shape == (0, 3)
