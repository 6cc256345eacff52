"""Outputs and errors are encoded as the protocols define."""

from pathlib import Path

import numpy as np
import orjson
import pytest

from service.api.transport.answers import (
    ALLOW,
    CLOSE,
    JSON,
    LONGEST_ERROR,
    Admitted,
    Answer,
    Header,
    answer_size,
    encoded,
    inferred,
    predicted,
    refused,
    takes_long,
    to_encode,
)
from service.config.model import ModelConfig
from service.core import errors
from service.core.requests import InferRequest, RequestedOutput
from service.core.sizes import HERE_BYTES, HERE_STRINGS, HERE_VALUES
from service.core.tensors import Array, Signature
from service.engine.repository.version import ModelVersion
from service.engine.storage.folder import VersionFiles
from tests.api.tables import spec

TAKES = (spec("x", "FP32", "n", 2),)
GIVES = (spec("y", "FP32", "n", 2), spec("z", "BYTES", "n"))
SIGNATURE = Signature(TAKES, GIVES)
HOME = Path("m/1")
VERSION = ModelVersion(
    "m",
    7,
    VersionFiles(HOME / "model.onnx", HOME, HOME.parent, Path()),
    ModelConfig.model_validate({"outputs": {"y": {"labels": ["cat", "dog"]}}}),
    lambda _: None,
)
Y: Array = np.array([[0.25, 0.75]], np.float32)
Z: Array = np.array(["a"], object)


def document(answer: Answer) -> dict[str, object]:
    assert (answer.status, answer.headers) == (200, ((b"content-type", b"application/json"),))
    return dict(orjson.loads(answer.body))


def asked(*outputs: RequestedOutput, binary: bool = False) -> InferRequest:
    return InferRequest((), outputs, "id-1", binary_outputs=binary)


def test_all_outputs_are_returned_if_none_is_requested() -> None:
    found = document(inferred(VERSION, SIGNATURE, asked(), (Y, Z), True))
    assert (found["model_name"], found["model_version"], found["id"]) == ("m", "7", "id-1")
    assert found["outputs"] == [
        {"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [0.25, 0.75]},
        {"name": "z", "datatype": "BYTES", "shape": [1], "data": ["a"]},
    ]


def test_requested_outputs_are_returned_in_the_requested_order_and_form() -> None:
    request = asked(RequestedOutput("z"), RequestedOutput("y", classes=1))
    outputs = document(inferred(VERSION, SIGNATURE, request, (Z, Y), True))["outputs"]
    assert [each["name"] for each in outputs] == ["z", "y"]  # type: ignore[attr-defined]
    assert outputs[1]["data"] == ["0.750000:1:dog"]  # type: ignore[index]


def test_an_output_is_binary_if_it_or_the_request_asks_for_it() -> None:
    request = asked(RequestedOutput("y"), RequestedOutput("z", binary=False), binary=True)
    answer = inferred(VERSION, SIGNATURE, request, (Y, Z), True)
    assert [bytes(part) for part in answer.rest] == [Y.tobytes()]
    kind, length = answer.headers
    assert kind == (b"content-type", b"application/octet-stream")
    assert length == (b"inference-header-content-length", b"%d" % len(answer.body))
    assert answer.size == len(answer.body) + Y.nbytes


def test_v1_returns_predictions() -> None:
    both = document(predicted(VERSION, SIGNATURE, asked(), (Y, Z), True))
    assert both == {"predictions": [{"y": [0.25, 0.75], "z": "a"}]}
    one = document(predicted(VERSION, SIGNATURE, asked(RequestedOutput("y")), (Y,), True))
    assert one == {"predictions": [[0.25, 0.75]]}


def texts(count: int, text: str = "") -> Array:
    return np.full(count, text, object)


LONG = np.zeros(HERE_VALUES + 1, np.float32)
ONE, CLASSES = (RequestedOutput("y"),), (RequestedOutput("y", classes=2),)


@pytest.mark.parametrize(
    ("wanted", "output", "protocol", "binary", "long"),
    [
        (ONE, LONG[:-1], "v2", False, False),
        (ONE, LONG, "v2", False, True),
        ((), LONG, "v2", False, True),
        (ONE, LONG, "v2", True, False),
        (ONE, LONG, "v1", True, True),
        (CLASSES, LONG[:HERE_STRINGS], "v2", False, False),
        (CLASSES, LONG[: HERE_STRINGS + 1], "v2", False, True),
        (ONE, texts(HERE_STRINGS), "v2", False, False),
        (ONE, texts(HERE_STRINGS + 1), "v2", True, True),
        (ONE, texts(1, "a" * HERE_BYTES), "v2", False, False),
        (ONE, texts(1, "a" * (HERE_BYTES + 1)), "v2", False, True),
    ],
)
def test_answers_too_long_for_the_event_loop_are_detected(
    wanted: tuple[RequestedOutput, ...], output: Array, protocol: str, binary: bool, long: bool
) -> None:
    admitted = Admitted(asked(*wanted, binary=binary), VERSION, SIGNATURE)
    assert takes_long(admitted, protocol, (output,)) is long


def test_the_encoding_for_another_process_is_complete() -> None:
    request = asked(RequestedOutput("z", binary=True), RequestedOutput("y", classes=2))
    response, how = to_encode(Admitted(request, VERSION, SIGNATURE), "v2", (Z, Y), False)
    assert (response.model, response.version, response.id) == ("m", 7, "id-1")
    assert [each.name for each in response.outputs] == ["z", "y"]
    assert (how.binary, how.classes) == ([True, False], [0, 2])
    assert how.labels == [(), ("cat", "dog")] and how.batched and not how.tokens


def test_answers_encoded_by_another_process_have_the_same_headers() -> None:
    assert encoded(b"{}", None).headers == ((b"content-type", b"application/json"),)
    assert encoded(b"{}raw", 2).headers == (
        (b"content-type", b"application/octet-stream"),
        (b"inference-header-content-length", b"2"),
    )


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_the_size_of_an_answer_is_limited_before_it_is_built(protocol: str) -> None:
    write = predicted if protocol == "v1" else inferred
    size = write(VERSION, SIGNATURE, asked(), (Y, Z), True).size
    assert answer_size(protocol, VERSION, SIGNATURE, asked(), (Y, Z), 2**20).answer >= size
    with pytest.raises(errors.ResponseTooLarge):
        answer_size(protocol, VERSION, SIGNATURE, asked(), (Y, Z), 10)


def test_a_compressed_answer_has_a_content_encoding_header() -> None:
    answer = Answer(200, ((b"a", b"b"),), b"long", [b"er"]).encoded(b"gzip", b"short")
    assert answer == Answer(200, ((b"a", b"b"), (b"content-encoding", b"gzip")), b"short")


RETRY = (b"retry-after", b"1")


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (errors.MalformedRequest("x"), 400, []),
        (errors.QueueFull("x"), 503, [RETRY]),
        (errors.WouldExpire("x", 2.1), 503, [(b"retry-after", b"3")]),
        (errors.MemoryFull("x"), 503, [RETRY, CLOSE]),
        (errors.MethodNotAllowed("x"), 405, [ALLOW]),
        (errors.BodyTooLarge("x"), 413, [CLOSE]),
        (errors.BodyTimeout("x"), 408, [CLOSE]),
        (errors.ShuttingDown("x"), 503, [CLOSE]),
        (errors.NotReady("x"), 503, []),
    ],
)
def test_an_error_has_its_status_and_headers(
    error: errors.QuantserveError, status: int, headers: list[Header]
) -> None:
    answer = refused(error)
    assert (answer.status, orjson.loads(answer.body)) == (status, {"error": "x"})
    assert answer.headers == (JSON, *headers)


def test_long_errors_are_shortened() -> None:
    told = orjson.loads(refused(errors.NotFound("x" * 10_000)).body)["error"]
    assert told == "x" * LONGEST_ERROR + "..."
