"""An answer has the same bytes wherever it is encoded, and at most the server's limit of them."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from service.api.dataplane.answering import Answering
from service.api.offload.lanes import Elsewhere
from service.api.protocol.pace import TakesLong
from service.api.transport.answers import WRITES
from service.api.transport.exchange import Admitted, Exchange
from service.api.transport.target import Target
from service.api.transport.traffic import Traffic
from service.config.settings import Settings
from service.core.errors import MemoryFull, ResponseTooLarge
from service.core.requests import InferRequest, RequestedOutput
from service.core.sizes import HERE_VALUES
from service.core.tensors import DATATYPES, Arrays, Signature, TensorSpec

SPEC = TensorSpec("y", DATATYPES["FP32"], ("batch", None))
FEW = (np.array([[0.25, 0.75]], np.float32),)
MANY = (np.full((1, HERE_VALUES + 1), 0.5, np.float32),)
Make = Callable[..., Answering]


@dataclass
class Version:
    model: str = "m"
    number: int = 3

    def labels(self, output: str) -> tuple[str, ...]:
        return ()


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Make an ``Answering`` with these settings and this much memory."""
    elsewhere = Elsewhere(1)

    def made(memory: int = 2**30, **settings: Any) -> Answering:
        return Answering(Settings(**settings), Traffic(memory), elsewhere, WRITES)

    yield made
    elsewhere.close()


def exchange(protocol: str = "v2", **request: Any) -> Exchange:
    version: Any = Version()
    made = Exchange(Target(protocol, "m", None), b"1")
    made.admitted = Admitted(InferRequest((), **request), version, Signature((SPEC,), (SPEC,)))
    return made


@pytest.mark.parametrize("protocol", ["v1", "v2"])
async def test_a_small_answer_is_encoded_at_once(make: Make, protocol: str) -> None:
    answering = make()
    answer = answering.answer(exchange(protocol), FEW)
    document = json.loads(bytes(answer.body))
    if protocol == "v1":
        assert document["predictions"] == [[0.25, 0.75]]
    else:
        assert document["model_version"] == "3"
        assert document["outputs"][0]["data"] == [0.25, 0.75]
    there = await answering.answer_elsewhere(exchange(protocol), FEW)
    assert json.loads(bytes(there.body)) == document


@pytest.mark.parametrize("protocol", ["v1", "v2"])
async def test_long_json_is_encoded_elsewhere(make: Make, protocol: str) -> None:
    answering, asked = make(), exchange(protocol)
    with pytest.raises(TakesLong):
        answering.answer(asked, MANY)
    assert b"0.5,0.5" in bytes((await answering.answer_elsewhere(asked, MANY)).body)


async def test_long_binary_tensors_are_not_copied(make: Make) -> None:
    answer = make().answer(exchange(binary_outputs=True), MANY)
    (part,) = answer.rest
    assert np.shares_memory(np.frombuffer(part, np.float32), MANY[0])


@pytest.mark.parametrize("binary", [True, False])
async def test_the_size_of_an_answer_is_limited(make: Make, binary: bool) -> None:
    answering, asked = make(max_response_bytes=5_000), exchange(binary_outputs=binary)
    outputs = (np.full((1, 2_000), 0.123456789, np.float32),)
    with pytest.raises(ResponseTooLarge):
        answering.answer(asked, outputs)
    with pytest.raises(ResponseTooLarge):
        await answering.answer_elsewhere(asked, outputs)


async def test_memory_for_a_large_answer_is_reserved(make: Make) -> None:
    """Until the exchange releases it."""
    outputs = (np.zeros((1, 2**20), np.float32),)
    asked = exchange(binary_outputs=True)
    make().answer(asked, outputs)
    assert asked.held is not None and asked.held.size >= outputs[0].nbytes
    asked.held.release()
    # One answer of this size would fit, but other answers have taken the memory.
    answering = make(memory=20 * outputs[0].nbytes)
    held: list[Exchange] = []
    with pytest.raises(MemoryFull):
        for _ in range(20):
            held.append(exchange(binary_outputs=True))
            answering.answer(held[-1], outputs)
    for each in held:
        if each.held is not None:
            each.held.release()


def nan(answering: Answering, **request: Any) -> Any:
    answer = answering.answer(exchange(**request), (np.array([[np.nan]], np.float32),))
    return bytes(answer.body)


async def test_the_request_or_the_server_says_how_nan_is_written(make: Make) -> None:
    assert b"NaN" in nan(make(non_finite="literal"))
    assert b"null" in nan(make(non_finite="null"))
    assert b"NaN" in nan(make(non_finite="null"), non_finite="literal")
    assert b"null" in nan(make(non_finite="literal"), non_finite="null")


async def test_only_the_requested_outputs_are_named(make: Make) -> None:
    specs = (SPEC, TensorSpec("z", DATATYPES["FP32"], ("batch", None)))
    asked = exchange(outputs=(RequestedOutput("z"),))
    assert asked.admitted is not None
    asked.admitted = asked.admitted._replace(signature=Signature((SPEC,), specs))
    outputs: Arrays = FEW
    answer = make().answer(asked, outputs)
    assert [each["name"] for each in json.loads(bytes(answer.body))["outputs"]] == ["z"]
