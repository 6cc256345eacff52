"""The jobs of the codec process, run in this process, give the same results as the codecs."""

import pickle
from typing import Any

import numpy as np
import orjson

from service.api.offload.jobs import (
    Encoding,
    Packed,
    decode_v1,
    decode_v2,
    encode,
    pack,
    portable,
    unpack,
)
from service.api.protocol import codec, v1
from service.core.requests import InferResponse
from service.core.tensors import DATATYPES, Signature, Tensor
from tests.api.tables import signature, spec

NUMBERS: Signature = signature(spec("x", "FP32", "batch", 2))
TEXTS: Signature = signature(spec("x", "BYTES", "batch"))


def elsewhere(value: Any) -> Any:
    """Return a value as it arrives in another process."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(head, buffers=[bytearray(buffer.raw()) for buffer in buffers])


def body(datatype: str, shape: list[int], data: list[Any]) -> bytes:
    item = {"name": "x", "datatype": datatype, "shape": shape, "data": data}
    return orjson.dumps({"id": "a", "inputs": [item]})


def test_a_request_is_decoded_as_by_the_codec() -> None:
    sent = body("FP32", [2, 2], [1, 2, 3, 4])
    request, inputs = elsewhere(decode_v2(portable(sent).raw(), None, NUMBERS))
    (x,) = unpack(inputs)
    assert request.id == codec.decode(sent).id == "a" and request.inputs == ()
    assert np.array_equal(x.array, codec.decode(sent).inputs[0].array)


def test_texts_are_packed_as_bytes_and_unpacked() -> None:
    _, inputs = elsewhere(decode_v2(body("BYTES", [2], ["ä", ""]), None, TEXTS))
    assert isinstance(inputs[0], Packed)
    assert unpack(inputs)[0].array.tolist() == ["ä", ""]


def test_a_v1_request_is_decoded_as_by_its_codec() -> None:
    sent = b'{"instances": [[1, 2], [3, 4]]}'
    _, inputs = elsewhere(decode_v1(sent, NUMBERS, None, "json"))
    assert np.array_equal(unpack(inputs)[0].array, v1.decode(sent, NUMBERS).inputs[0].array)
    _, inputs = elsewhere(decode_v1(b"a,b\n1,2\n", NUMBERS, None, "csv"))
    assert unpack(inputs)[0].array.tolist() == [[1, 2]]


def test_an_answer_is_encoded_as_by_the_codec() -> None:
    y = Tensor("y", DATATYPES["FP32"], np.array([[1.5, np.nan]], np.float32))
    response = InferResponse("m", 1, (y,), "a")
    for binary in (True, False):
        encoding = Encoding("v2", [binary], [0], [()], True, True)
        sent = elsewhere((response._replace(outputs=()), pack([y]), encoding))
        written, length = elsewhere(encode(*sent))
        whole, expected = codec.encode(response, [binary])
        assert (bytes(written), length) == (bytes(whole), expected)


def test_classes_have_their_labels() -> None:
    y = Tensor("y", DATATYPES["FP32"], np.array([[0.25, 0.75]], np.float32))
    encoding = Encoding("v2", [False], [1], [("cat", "dog")], True, True)
    written, _ = elsewhere(encode(InferResponse("m", 1, (), ""), pack([y]), encoding))
    assert orjson.loads(bytes(written))["outputs"][0]["data"] == ["0.750000:1:dog"]
