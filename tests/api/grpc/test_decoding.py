"""Messages are decoded to requests: raw and typed tensors, outputs, parameters, and errors."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc.service_pb2 import InferParameter, ModelInferRequest

from service.api.grpc.decoding import decode, decode_there
from service.api.grpc.wire import split
from service.api.offload.jobs import unpack
from service.api.protocol.pace import TakesLong, go_on
from service.core.errors import MalformedRequest
from service.core.requests import InferRequest, Place
from service.core.sizes import HERE_BYTES, HERE_COPY
from tests.api.grpc.calling import infer_request

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def read(request: ModelInferRequest, **more: Any) -> InferRequest:
    body = request.SerializeToString()
    return decode(body, split(body), **more)


@pytest.mark.parametrize("id", ["", "a", "ab", "abc"])
def test_raw_tensors_are_read_at_any_alignment(id: str) -> None:
    request = infer_request("m", [("x", "FP32", X), ("b", "BOOL", X > 2)], id=id)
    for _ in range(2):  # the second time the description is cached
        found = read(request)
        assert found.id == id and found.binary_outputs
        assert [(t.name, t.datatype.name) for t in found.inputs] == [("x", "FP32"), ("b", "BOOL")]
        assert found.inputs[0].array.tolist() == X.tolist()
        assert found.inputs[1].array.tolist() == (X > 2).tolist()
        assert all(tensor.array.flags.aligned for tensor in found.inputs)


def test_an_aligned_tensor_is_not_copied() -> None:
    bodies = [infer_request("m", [("x" * n, "FP32", X)]).SerializeToString() for n in range(1, 5)]
    views = [decode(body, split(body)).inputs[0].array.base is not None for body in bodies]
    assert any(views)


def test_raw_strings_are_read() -> None:
    request = infer_request("m", [("x", "BYTES", np.zeros((2, 1)))])
    request.raw_input_contents[0] = b"\x02\0\0\0hi\0\0\0\0"
    assert read(request).inputs[0].array.tolist() == [["hi"], [""]]


def test_typed_tensors_are_read() -> None:
    request = ModelInferRequest(model_name="m", id="7")
    request.inputs.add(name="x", datatype="FP32", shape=[2, 3]).contents.fp32_contents.extend(
        X.ravel().tolist()
    )
    found = read(request)
    assert found.id == "7"
    assert found.inputs[0].array.tolist() == X.tolist()


def in_shared_memory(tensor: Any, size: int) -> None:
    tensor.parameters["shared_memory_region"].string_param = "r"
    tensor.parameters["shared_memory_byte_size"].int64_param = size
    tensor.parameters["shared_memory_offset"].int64_param = 8


def test_inputs_in_shared_memory_keep_their_positions() -> None:
    request = infer_request("m", [("a", "FP32", X), ("b", "FP32", X), ("c", "FP32", X)])
    in_shared_memory(request.inputs[1], X.nbytes)
    del request.raw_input_contents[1]
    for _ in range(2):  # the second time the description is cached
        found = read(request)
        assert [tensor.name for tensor in found.inputs] == ["a", "c"]
        assert found.shared is not None
        [(position, name, datatype, shape, place)] = found.shared
        assert (position, name, datatype.name, shape) == (1, "b", "FP32", (2, 3))
        assert place == Place("r", 8, X.nbytes)
    request.raw_input_contents.append(b"")
    with pytest.raises(MalformedRequest, match='"inputs" has 2 that are not in shared memory'):
        read(request)


def test_a_request_may_have_all_of_its_tensors_in_shared_memory() -> None:
    request = ModelInferRequest(model_name="m")
    in_shared_memory(request.inputs.add(name="x", datatype="FP32", shape=[2, 3]), X.nbytes)
    in_shared_memory(request.outputs.add(name="y"), 16)
    found = read(request)
    assert found.inputs == () and found.shared is not None and found.shared[0].name == "x"
    assert found.outputs[0].shared == Place("r", 8, 16)
    request.inputs[0].contents.fp32_contents.append(1)
    with pytest.raises(MalformedRequest, match='both "contents" and "shared_memory_region"'):
        read(request)


def test_outputs_and_parameters_are_read() -> None:
    request = infer_request("m", [("x", "FP32", X)])
    request.outputs.add(name="y").parameters["classification"].int64_param = 3
    request.outputs.add(name="z").parameters["binary_data"].bool_param = False
    request.parameters["priority"].uint64_param = 1
    request.parameters["timeout"].int64_param = 250_000
    request.parameters["triton_enable_empty_final_response"].bool_param = True
    found = read(request)
    assert [(o.name, o.classes, o.binary) for o in found.outputs] == [
        ("y", 3, True),
        ("z", 0, True),
    ]
    assert (found.priority, found.timeout) == (1, 0.25)


def named(change: Callable[[ModelInferRequest], Any]) -> ModelInferRequest:
    request = infer_request("m", [("x", "FP32", X)])
    change(request)
    return request


BAD = [
    (lambda r: r.raw_input_contents.append(b""), "has 2 tensors"),
    (lambda r: r.raw_input_contents.__setitem__(0, b"12"), 'input "x" has 2 bytes'),
    (lambda r: setattr(r.inputs[0], "datatype", "FLOAT"), '"FLOAT", expected one of BOOL'),
    (lambda r: r.inputs[0].shape.__setitem__(0, -1), "at least 0, got -1"),
    (lambda r: r.inputs[0].shape.extend([1] * 40), "up to 32"),
    (lambda r: r.inputs[0].contents.fp32_contents.append(1), "send only one"),
    (lambda r: r.parameters["sequence_id"].MergeFrom(InferParameter(int64_param=3)), "sequence"),
    (lambda r: r.outputs.extend([r.outputs.add(name="y")]), "twice"),
    (
        lambda r: r.inputs[0].parameters["shared_memory_region"].MergeFrom(
            InferParameter(string_param="a")
        ),
        'input "x" has "shared_memory_region" without "shared_memory_byte_size"',
    ),
    (
        lambda r: r.inputs[0].parameters["shared_memory_offset"].MergeFrom(
            InferParameter(int64_param=4)
        ),
        'without "shared_memory_region"',
    ),
]  # fmt: skip


@pytest.mark.parametrize(("change", "text"), BAD)
def test_malformed_requests_are_refused_with_the_reason(
    change: Callable[[ModelInferRequest], Any], text: str
) -> None:
    with pytest.raises(MalformedRequest, match=text):
        read(named(change))


def test_a_shape_with_a_huge_number_of_elements_is_refused() -> None:
    request = infer_request("m", [("x", "FP32", X)])
    request.inputs[0].shape[:] = [2**40, 2**40]
    with pytest.raises(MalformedRequest, match="needs"):
        read(request)


def test_bytes_that_are_not_a_message_are_refused() -> None:
    body = b"\x2a\x02\xff\xff"
    with pytest.raises(MalformedRequest, match="not a ModelInferRequest"):
        decode(body, split(body))


def test_large_messages_are_not_decoded_in_the_event_loop() -> None:
    long = ModelInferRequest(model_name="m")
    values = [0.5] * (HERE_BYTES // 4 + 1)
    tensor = long.inputs.add(name="x", datatype="FP32", shape=[len(values)])
    tensor.contents.fp32_contents.extend(values)
    with pytest.raises(TakesLong):
        read(long)
    request, inputs, _ = decode_there(long.SerializeToString(), None)
    assert request.inputs == () and unpack(inputs)[0].array.tolist() == values
    large = np.zeros(HERE_COPY // 4 + 1, np.float32)
    bodies = [infer_request("m" * n, [("x", "FP32", large)]) for n in range(1, 5)]
    assert all(len(read(each, pace=go_on).inputs[0].array) == len(large) for each in bodies)
    refused = 0
    for each in bodies:  # at least one of them is not aligned
        try:
            read(each)
        except TakesLong:
            refused += 1
    assert refused
