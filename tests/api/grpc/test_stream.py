"""Streams answer in order, continue after an error, and end when their client disconnects."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest_asyncio
from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelStreamInferResponse

from service.api.grpc.stream import AHEAD
from tests import tiny_models
from tests.api.grpc.calling import SERVICE, Calls, calling, infer_request
from tests.api.grpc.test_infer import LONG, until


@pytest_asyncio.fixture
async def calls(tmp_path: Path) -> AsyncIterator[Calls]:
    tiny_models.identity(tmp_path, "FP32")
    tiny_models.counting(tmp_path)
    async with calling(tmp_path) as each:
        yield each


def request(number: int, model: str = "same_fp32") -> ModelInferRequest:
    x = np.full((1, 2), number, np.float32)
    return infer_request(model, [("x", "FP32", x)], id=f"r{number}")


def stream(calls: Calls) -> "object":
    return calls.channel.stream_stream(
        f"{SERVICE}/ModelStreamInfer", None, ModelStreamInferResponse.FromString
    )()


async def test_answers_are_in_the_order_of_their_requests(calls: Calls) -> None:
    count = 3 * AHEAD
    open_stream = stream(calls)

    async def send() -> None:
        for number in range(count):
            await open_stream.write(request(number).SerializeToString())
        await open_stream.done_writing()

    sending = asyncio.ensure_future(send())
    found = [each.infer_response async for each in open_stream]
    await sending
    assert [each.id for each in found] == [f"r{n}" for n in range(count)]
    firsts = [np.frombuffer(each.raw_output_contents[0], np.float32)[0] for each in found]
    assert firsts == list(range(count))
    assert all(each.parameters["triton_final_response"].bool_param for each in found)


async def test_a_failed_request_gets_an_error_and_the_stream_continues(calls: Calls) -> None:
    open_stream = stream(calls)
    for each in (request(1), request(2, "nobody"), request(3)):
        await open_stream.write(each.SerializeToString())
    await open_stream.write(b"\x0a\xff")
    await open_stream.done_writing()
    first, second, third, fourth = [each async for each in open_stream]
    assert (first.infer_response.id, third.infer_response.id) == ("r1", "r3")
    assert '"nobody"' in second.error_message and second.infer_response.id == "r2"
    assert fourth.error_message and fourth.infer_response.id == ""


async def test_requests_of_a_cancelled_stream_are_dropped(calls: Calls) -> None:
    open_stream = stream(calls)
    for _ in range(3):
        long = infer_request("counting", [("n", "INT64", LONG)])
        await open_stream.write(long.SerializeToString())
    await until(calls, 3)
    open_stream.cancel()
    await until(calls, 0)
