"""Decoding of requests and encoding of answers; errors name the wrong part."""

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.api.protocol.codec import REPEATED, decode, described, encode, encode_parts
from service.core.errors import MalformedRequest
from service.core.requests import InferResponse, Place
from service.core.tensors import DATATYPES, Tensor

NUMERIC = [name for name in DATATYPES if name not in ("BYTES", "BF16")]


def request(**changes: Any) -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2.5]} | changes
    return orjson.dumps({"inputs": [{k: v for k, v in tensor.items() if v is not None}]})


@given(st.sampled_from(NUMERIC), st.data(), st.booleans())
def test_a_tensor_is_unchanged_by_both_encodings(
    name: str, data: st.DataObject, binary: bool
) -> None:
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


KINDS = ["FP32", "FP64", "FP16", "BF16", "INT8", "INT64", "UINT64", "BOOL", "BYTES"]
OUTPUTS = st.tuples(st.text(max_size=3), st.sampled_from(KINDS), st.integers(0, 3), st.booleans())
VALUES = st.sampled_from([0.0, 1.0, 7.0, float("nan"), float("-inf")])


@given(st.lists(OUTPUTS, max_size=3), VALUES, st.integers(1, 9), st.booleans())
def test_answers_are_the_same_with_and_without_an_id(
    outputs: list[tuple[str, str, int, bool]], value: float, version: int, tokens: bool
) -> None:
    tensors = []
    for name, kind, rows, _ in outputs:
        dtype, number = DATATYPES[kind].dtype, kind in ("FP32", "FP64", "FP16")
        array = np.full((rows, 2), value if number else 1, dtype)
        tensors.append(Tensor(name, DATATYPES[kind], array))
    binary = [each for *_, each in outputs]
    body, length = encode(InferResponse("m", version, tuple(tensors)), binary, tokens)
    named, named_length = encode(InferResponse("m", version, tuple(tensors), "7"), binary, tokens)
    without = named[:named_length].replace(b',"id":"7"', b"", 1)
    assert body[:length] == without
    assert length is None or body[length:] == named[named_length:]


@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=5), st.booleans())
def test_strings_are_unchanged_by_both_encodings(values: list[str], binary: bool) -> None:
    array = np.array(values, dtype=object)
    tensor = Tensor("x", DATATYPES["BYTES"], array)
    body, length = encode(InferResponse("m", 1, (tensor,)), [binary])
    again = orjson.dumps({"inputs": orjson.loads(body[:length])["outputs"]})
    raw = body[length:] if length else b""
    got = decode(again + raw, len(again) if binary else None).inputs[0]
    assert got.array.tolist() == values


IN_SHARED_MEMORY = {
    "shared_memory_region": "r",
    "shared_memory_byte_size": 8,
    "shared_memory_offset": 0,
}


def test_a_byte_order_mark_is_ignored() -> None:
    body = request()
    marked = b"\xef\xbb\xbf" + body
    assert str(decode(marked)) == str(decode(body))
    head = orjson.dumps(
        {
            "inputs": [
                {
                    "name": "x",
                    "datatype": "UINT8",
                    "shape": [3],
                    "parameters": {"binary_data_size": 3},
                }
            ]
        }
    )
    got = decode(b"\xef\xbb\xbf" + head + b"\xef\xbb\xbf", len(head) + 3)
    assert bytes(got.inputs[0].array) == b"\xef\xbb\xbf"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-be", "utf-32-le"])
def test_other_encodings_with_a_byte_order_mark_are_named(encoding: str) -> None:
    text = request().decode()
    marked = text if encoding in ("utf-16", "utf-32") else "\ufeff" + text
    with pytest.raises(
        MalformedRequest, match=f"is {encoding[:6].upper()}, expected JSON in UTF-8"
    ):
        decode(marked.encode(encoding))


@pytest.mark.parametrize("marks", [1, 2, 100_000])
def test_byte_order_marks_alone_are_refused(marks: int) -> None:
    with pytest.raises(MalformedRequest, match="empty" if marks == 1 else "not JSON"):
        decode(b"\xef\xbb\xbf" * marks)


def test_inputs_in_shared_memory_are_decoded_with_their_place() -> None:
    there = {"name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": IN_SHARED_MEMORY}
    here = {"name": "z", "datatype": "INT8", "shape": [1], "data": [1]}
    got = decode(orjson.dumps({"inputs": [here, there, here, there | {"name": "w"}], "id": "a"}))
    assert [tensor.name for tensor in got.inputs] == ["z", "z"] and got.id == "a"
    assert got.shared is not None
    first, second = got.shared
    assert (first.position, first.name, first.shape) == (1, "x", (1, 2))
    assert first.place == Place("r", 0, 8) and (second.position, second.name) == (3, "w")


@pytest.mark.parametrize("extra", [{"data": [1]}, {"parameters": {"binary_data_size": 8}}])
def test_data_in_shared_memory_and_in_the_request_is_refused(extra: dict[str, Any]) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": IN_SHARED_MEMORY}
    more = (
        {"parameters": IN_SHARED_MEMORY | extra["parameters"]} if "parameters" in extra else extra
    )
    with pytest.raises(
        MalformedRequest, match='input "x" has both data and "shared_memory_region"'
    ):
        decode(orjson.dumps({"inputs": [tensor | more]}))


def test_an_output_with_a_sink_is_written_to_the_sink() -> None:
    class Kept:
        data = b""

        def put(self, data: bytes | bytearray | memoryview) -> dict[str, str | int]:
            self.data = bytes(data)
            return {"told": 1}

    kept, array = Kept(), np.array([1, 2], np.uint8)
    outputs = tuple(Tensor(name, DATATYPES["UINT8"], array) for name in "ab")
    document, raw = encode_parts(InferResponse("m", 1, outputs), [True, True], True, [kept, None])
    assert kept.data == b"\x01\x02" and [bytes(part) for part in raw] == [b"\x01\x02"]
    assert [item["parameters"] for item in orjson.loads(document)["outputs"]] == [
        {"told": 1},
        {"binary_data_size": 2},
    ]


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
def test_invalid_requests_are_refused_with_the_reason(body: bytes, text: str) -> None:
    with pytest.raises(MalformedRequest, match=text):
        decode(body)


@pytest.mark.parametrize("length", [5, 10**9])
def test_a_wrong_header_length_is_refused(length: int) -> None:
    with pytest.raises(MalformedRequest):
        decode(request(), length)


def binary_request(
    data: bytes, datatype: str = "FP32", size: int | None = None, **more: Any
) -> Any:
    """A body with one binary input of one axis, and the length of its JSON part."""
    count = len(data) // DATATYPES[datatype].size
    parameters = {"binary_data_size": len(data) if size is None else size}
    item = {"name": "x", "datatype": datatype, "shape": [count], "parameters": parameters}
    head = json.dumps({"inputs": [item], **more}).encode()
    return head + data, len(head)


@given(
    st.sampled_from(["FP32", "INT8", "FP64", "UINT16", "BOOL", "BF16"]),
    st.integers(1, 40),
    st.sampled_from(
        [{}, {"id": "a"}, {"outputs": [{"name": "y"}]}, {"parameters": {"timeout": 5}}]
    ),
    st.randoms(use_true_random=False),
)
def test_a_cached_json_part_is_decoded_the_same(
    datatype: str, count: int, more: dict[str, Any], random: Any
) -> None:
    described.cache_clear()
    size = count * DATATYPES[datatype].size
    for _ in range(2):  # other data under the same JSON part
        data = bytes(random.choices([0, 1], k=size))
        body, length = binary_request(data, datatype, **more)
        request = decode(body, length)
        spaced, long = body[:length] + b" " * REPEATED + body[length:], length + REPEATED
        expected = decode(spaced, long)  # too long to be cached
        assert request._replace(inputs=()) == expected._replace(inputs=())
        (x,), (y,) = request.inputs, expected.inputs
        assert (x.name, x.datatype) == (y.name, y.datatype)
        assert x.array.tobytes() == y.array.tobytes() and x.array.shape == y.array.shape
        assert x.array.flags.aligned


@pytest.mark.parametrize("cut", [1, 4, 8])
def test_a_cached_json_part_with_data_of_another_size_is_refused(cut: int) -> None:
    body, length = binary_request(bytes(8))
    assert decode(body, length).inputs[0].array.tolist() == [0, 0]
    with pytest.raises(MalformedRequest, match="binary_data_size 8"):
        decode(body[:-cut], length)
    with pytest.raises(MalformedRequest, match=f"{cut} bytes of binary data belong to no input"):
        decode(body + bytes(cut), length)


@pytest.mark.parametrize("size", [-4, 2**40, 1.5, None, [8]])
def test_a_json_part_with_an_invalid_size_is_not_cached(size: Any) -> None:
    head = {"name": "x", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": size}}
    document = json.dumps({"inputs": [head]}).encode()
    assert described(document) is None
    with pytest.raises(MalformedRequest):
        decode(document + bytes(8), len(document))
