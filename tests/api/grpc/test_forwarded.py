"""A message that another worker answers has the same answer as here."""

from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from grpc import StatusCode
from tritonclient.grpc import service_pb2 as theirs

from service.api.dataplane.inference import Inference
from service.api.grpc import calls
from service.api.grpc.calls import Call, Refused
from service.api.grpc.forwarded import Calls, ForwardedCall, answer_message
from service.api.grpc.wire import field
from service.api.transport.traffic import Traffic
from service.core.body_cost import LARGE
from service.core.errors import NotReady
from service.workers.line import Lost
from tests.inprocess import serve
from tests.repositories import put, scale

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def inference(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Inference]:
    folder = tmp_path_factory.mktemp("models")
    put(folder, "m", 1, scale(3))
    async with serve(folder, grpc_port=0) as served:
        yield served.server._inference


def elsewhere(inference: Inference, model: str = "m") -> Calls:
    """Return calls for which another worker has a model; it is the same process here."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer_message(inference, scope, receive, send)

    return Calls(inference, {model: app})


def message(model: str = "m", name: str = "x") -> bytes:
    request = theirs.ModelInferRequest(model_name=model, id="7")
    tensor = request.inputs.add(name=name, datatype="FP32", shape=[1, 2])
    tensor.contents.fp32_contents.extend([1, 2])
    return bytes(request.SerializeToString())


async def test_the_answer_is_the_message_of_the_response(inference: Inference) -> None:
    call = elsewhere(inference).of(message(), {b"x-request-id": b"mine"})
    assert isinstance(call, ForwardedCall)
    parts = await call.answer(message(), 5.0)
    found = theirs.ModelInferResponse.FromString(b"".join(parts))
    assert (found.model_name, found.model_version, found.id) == ("m", "1", "7")
    np.testing.assert_array_equal(np.frombuffer(found.raw_output_contents[0], np.float32), [3, 6])
    assert call.finish() is None


async def test_an_error_has_its_code_and_text(inference: Inference) -> None:
    wrong = message(name="z")
    with pytest.raises(Refused, match='"z"') as caught:
        await elsewhere(inference).of(wrong, {}).answer(wrong, None)
    assert caught.value.code is StatusCode.INVALID_ARGUMENT
    with pytest.raises(Refused) as late:
        await elsewhere(inference).of(message(), {}).answer(message(), 0.0)
    assert late.value.code is StatusCode.DEADLINE_EXCEEDED


async def test_a_worker_that_is_missing_is_unavailable(inference: Inference) -> None:
    async def app(*_: Any) -> None:
        raise NotReady("it is starting")

    with pytest.raises(Refused, match="it is starting") as caught:
        await Calls(inference, {"m": app}).of(message(), {}).answer(message(), None)
    assert caught.value.code is StatusCode.UNAVAILABLE


async def test_memory_is_reserved_for_a_large_body_until_it_is_answered(
    inference: Inference,
) -> None:
    body, held = message() + field(0x2A, b"ignored" * LARGE), list[int]()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        held.append(inference.traffic.counts().held)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    it = Calls(inference, {"m": app})
    await it.of(body, {}).answer(body, None)
    await it.of(message(), {}).answer(message(), None)
    assert held[0] >= len(body) and held[1] == 0
    assert inference.traffic.counts().held == 0
    with pytest.raises(Refused, match="--memory-budget") as caught:
        await ForwardedCall(app, {}, Traffic(len(body))).answer(body, None)
    assert caught.value.code is StatusCode.RESOURCE_EXHAUSTED


async def test_a_worker_that_ends_in_its_answer_is_unavailable(inference: Inference) -> None:
    async def app(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise Lost

    with pytest.raises(Refused, match="ended before its answer") as caught:
        await Calls(inference, {"m": app}).of(message(), {}).answer(message(), None)
    assert caught.value.code is StatusCode.UNAVAILABLE


async def test_other_models_and_bad_messages_are_answered_here(inference: Inference) -> None:
    assert isinstance(elsewhere(inference, "other").of(message(), {}), Call)
    assert isinstance(elsewhere(inference).of(b"\xff\xff", {}), Call)
    assert isinstance(Calls(inference, {}).of(message(), {}), Call)


async def test_a_message_that_is_answered_here_is_split_once(
    inference: Inference, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = elsewhere(inference, "other").of(message(), {})
    monkeypatch.delattr(calls, "split")
    found = theirs.ModelInferResponse.FromString(b"".join(await call.answer(message(), None)))
    assert found.model_name == "m"
    call.finish()


async def test_a_client_that_disconnects_gets_no_answer(inference: Inference) -> None:
    body = message()
    received = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Any:
        return next(received, {"type": "http.disconnect"})

    sent: list[Any] = []

    async def send(part: Any) -> None:
        sent.append(part)

    headers = [(b"x-quantserve-grpc-seconds", b""), (b"content-length", b"%d" % len(body))]
    await answer_message(inference, {"headers": headers}, receive, send)
    assert not sent or sent[0]["status"] == 200  # the run may have ended first
