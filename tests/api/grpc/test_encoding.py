"""Outputs are encoded as messages that Triton's client can read."""

from collections.abc import Mapping

import numpy as np
from tritonclient.grpc import InferResult
from tritonclient.grpc.service_pb2 import ModelInferResponse

from service.api.grpc.encoding import responded
from service.core.requests import InferRequest, RequestedOutput
from service.core.tensors import Arrays
from tests.api.transport.test_answers import SIGNATURE, VERSION, Y, Z


def read(request: InferRequest, outputs: Arrays) -> InferResult:
    answer = responded(VERSION, SIGNATURE, request, outputs, True)
    assert answer.status == 200
    body = b"".join([answer.body, *answer.rest])
    return InferResult(ModelInferResponse.FromString(body))


def test_all_outputs_are_returned_raw() -> None:
    rows = np.repeat(Y, 300, axis=0)
    rows[7, 1] = np.nan
    found = read(InferRequest((), (), "id-1"), (rows, np.repeat(Z, 300)))
    response = found.get_response()
    assert (response.model_name, response.model_version, response.id) == ("m", "7", "id-1")
    assert [(o.name, o.datatype, list(o.shape)) for o in response.outputs] == [
        ("y", "FP32", [300, 2]),
        ("z", "BYTES", [300]),
    ]
    np.testing.assert_array_equal(found.as_numpy("y"), rows)
    assert found.as_numpy("z").tolist() == [b"a"] * 300


class Sink:
    """Keeps the written data and returns its place."""

    def __init__(self) -> None:
        self.data = b""

    def put(self, data: bytes | bytearray | memoryview) -> Mapping[str, str | int]:
        self.data = bytes(data)
        return {"shared_memory_region": "r", "shared_memory_byte_size": len(data)}


def test_outputs_in_shared_memory_are_referenced_and_others_are_returned() -> None:
    sink = Sink()
    outputs = (RequestedOutput("y", sink=sink), RequestedOutput("z"))
    found = read(InferRequest((), outputs, shared=()), (Y, Z))
    assert sink.data == Y.tobytes()
    y, z = found.get_response().outputs
    assert y.parameters["shared_memory_region"].string_param == "r"
    assert y.parameters["shared_memory_byte_size"].int64_param == Y.nbytes
    assert list(y.shape) == list(Y.shape) and not z.parameters
    assert list(found.get_response().raw_output_contents)[0] == b""
    assert found.as_numpy("z").tolist() == [b"a"]


def test_outputs_may_be_empty_or_classified() -> None:
    request = InferRequest((), (RequestedOutput("z"), RequestedOutput("y", classes=1)))
    found = read(request, (Z[:0], Y))
    assert found.get_response().id == ""
    assert found.as_numpy("z").shape == (0,)
    assert found.as_numpy("y").tolist() == [[b"0.750000:1:dog"]]
