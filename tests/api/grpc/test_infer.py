"""ModelInfer returns answers and errors, and drops requests of disconnected clients."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from grpc import StatusCode, aio
from pydantic import SecretStr
from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelInferResponse

from tests import pictures, tiny_models
from tests.api.grpc.calling import Calls, calling, infer_request

LONG = np.array([300_000_000], np.int64)
"""Counts of ``counting`` that take minutes."""


@pytest_asyncio.fixture
async def calls(tmp_path: Path) -> AsyncIterator[Calls]:
    for datatype in tiny_models.DATATYPES:
        tiny_models.identity(tmp_path, datatype)
    tiny_models.counting(tmp_path)
    tiny_models.wide(tmp_path, 2**20)
    async with calling(tmp_path, shutdown_timeout=1) as each:
        yield each


async def infer(calls: Calls, request: ModelInferRequest, **more: Any) -> ModelInferResponse:
    return ModelInferResponse.FromString(
        await calls.send("ModelInfer", request.SerializeToString(), **more)
    )


async def failure(call: Any) -> aio.AioRpcError:
    with pytest.raises(aio.AioRpcError) as failed:
        await call
    return failed.value


@pytest.mark.parametrize("rows", [1, 3, 200_000])
async def test_tensors_are_returned_unchanged(calls: Calls, rows: int) -> None:
    x = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)
    found = await infer(calls, infer_request("same_fp32", [("x", "FP32", x)], id="7"))
    assert (found.model_name, found.model_version, found.id) == ("same_fp32", "1", "7")
    assert list(found.outputs[0].shape) == [rows, 2]
    assert found.raw_output_contents[0] == x.tobytes()


async def test_long_typed_contents_and_strings_are_read(calls: Calls) -> None:
    request = ModelInferRequest(model_name="same_int64")
    values = list(range(-50_000, 50_000))
    tensor = request.inputs.add(name="x", datatype="INT64", shape=[1, len(values)])
    tensor.contents.int64_contents.extend(values)
    found = await infer(calls, request)
    assert np.frombuffer(found.raw_output_contents[0], np.int64).tolist() == values
    texts = [f"é{n}" for n in range(20_000)]
    request = ModelInferRequest(model_name="same_bytes")
    tensor = request.inputs.add(name="x", datatype="BYTES", shape=[1, len(texts)])
    data = b"".join(len(t.encode()).to_bytes(4, "little") + t.encode() for t in texts)
    request.raw_input_contents.append(data)
    assert (await infer(calls, request)).raw_output_contents[0] == data


async def test_refused_requests_have_status_codes(calls: Calls) -> None:
    x = np.zeros((1, 2), np.float32)
    nobody = await failure(infer(calls, infer_request("nobody", [("x", "FP32", x)])))
    assert nobody.code() is StatusCode.NOT_FOUND and '"nobody"' in (nobody.details() or "")
    version = infer_request("same_fp32", [("x", "FP32", x)], model_version="9")
    assert (await failure(infer(calls, version))).code() is StatusCode.NOT_FOUND
    wrong = await failure(infer(calls, infer_request("same_fp32", [("z", "FP32", x)])))
    assert wrong.code() is StatusCode.INVALID_ARGUMENT and '"z"' in (wrong.details() or "")
    broken = await failure(calls.send("ModelInfer", b"\x0a\xff"))
    assert broken.code() is StatusCode.INVALID_ARGUMENT


async def test_sizes_of_messages_and_answers_are_limited(tmp_path: Path) -> None:
    tiny_models.wide(tmp_path, 2**20)
    limits = {"max_body_bytes": 2**16, "max_response_bytes": 2**20}
    async with calling(tmp_path, **limits) as calls:
        one = infer_request("wide", [("x", "FP32", np.ones((1, 1), np.float32))])
        large = await failure(infer(calls, one))
        assert large.code() is StatusCode.RESOURCE_EXHAUSTED
        assert "--max-response-bytes" in (large.details() or "")
        many = infer_request("wide", [("x", "FP32", np.ones((2**15, 1), np.float32))])
        for compression in (None, 2):
            long = await failure(infer(calls, many, compression=compression))
            assert long.code() is StatusCode.RESOURCE_EXHAUSTED


def held(calls: Calls) -> int:
    model = calls.served.server.repository.models["counting"]
    assert model.serving is not None and model.serving.batcher is not None
    return model.serving.batcher.in_flight


async def until(calls: Calls, count: int) -> None:
    async with asyncio.timeout(20):
        while held(calls) != count:
            await asyncio.sleep(0.01)


async def test_a_cancelled_call_is_removed_from_the_batcher(calls: Calls) -> None:
    request = infer_request("counting", [("n", "INT64", LONG)])
    tasks = [asyncio.ensure_future(infer(calls, request)) for _ in range(3)]
    await until(calls, 3)
    for task in tasks:
        task.cancel()
    await until(calls, 0)


async def test_a_deadline_reaches_the_batcher(calls: Calls) -> None:
    request = infer_request("counting", [("n", "INT64", LONG)])
    late = await failure(infer(calls, request, timeout=0.3))
    assert late.code() is StatusCode.DEADLINE_EXCEEDED
    await until(calls, 0)


async def test_predictions_need_a_key_if_one_is_configured(tmp_path: Path) -> None:
    tiny_models.identity(tmp_path, "FP32")
    request = infer_request("same_fp32", [("x", "FP32", np.ones((1, 2), np.float32))])
    async with calling(tmp_path, api_key=SecretStr("predict")) as calls:
        for metadata in ((), (("x-api-key", "wrong"),)):
            refused = await failure(infer(calls, request, metadata=metadata))
            assert refused.code() is StatusCode.UNAUTHENTICATED
        assert (await infer(calls, request, metadata=(("x-api-key", "predict"),))).outputs


async def test_requests_are_counted(calls: Calls) -> None:
    x = np.ones((3, 2), np.float32)
    await infer(calls, infer_request("same_fp32", [("x", "FP32", x)]))
    await failure(infer(calls, infer_request("same_fp32", [("z", "FP32", x)])))
    page = (await calls.served.client.get("/metrics")).text
    of = 'protocol="grpc",version="1"'
    for outcome in ("ok", "invalid"):
        assert f'requests_total{{model="same_fp32",outcome="{outcome}",{of}}} 1.0' in page
    assert f'rows_total{{model="same_fp32",{of}}} 3.0' in page
    assert f'requests_total{{model="counting",outcome="ok",{of}}} 0.0' in page


async def test_reserved_memory_is_released_after_the_answer_is_sent(calls: Calls) -> None:
    one = infer_request("wide", [("x", "FP32", np.ones((1, 1), np.float32))])
    found = await infer(calls, one)
    assert len(found.raw_output_contents[0]) == 2**22
    traffic = calls.served.server._inference.traffic
    async with asyncio.timeout(20):
        while traffic.counts().held:
            await asyncio.sleep(0.01)


async def test_images_are_decoded(tmp_path: Path) -> None:
    pictures.echo(tmp_path)
    pictures.detector(tmp_path, '[image]\nresize = "fit"\n[image.boxes]\noutput = "boxes"\n')
    photo = pictures.encoded(pictures.picture(), "JPEG")

    def asked(model: str, *images: bytes) -> ModelInferRequest:
        request = ModelInferRequest(model_name=model)
        request.inputs.add(name="image", datatype="BYTES", shape=[len(images)])
        request.raw_input_contents.append(
            b"".join(len(each).to_bytes(4, "little") + each for each in images)
        )
        return request

    async with calling(tmp_path) as calls:
        found = await infer(calls, asked("echo", photo, photo))
        want = pictures.reference(photo)

        def check(found: Any) -> None:
            values = np.frombuffer(found.raw_output_contents[0], np.float32)
            np.testing.assert_allclose(values.reshape(2, *want.shape), [want, want], atol=1e-5)

        check(found)
        for more in (b"", bytes(200_000)):  # bytes after a JPEG's end are not read
            typed = ModelInferRequest(model_name="echo")
            image = typed.inputs.add(name="image", datatype="BYTES", shape=[2])
            image.contents.bytes_contents.extend([photo + more, photo])
            check(await infer(calls, typed))
            del image.contents.bytes_contents[1]
            error = await failure(infer(calls, typed))
            assert error.code() is StatusCode.INVALID_ARGUMENT
            assert 'input "image" has 1 images, shape [2] needs 2' in str(error.details())
        wide = pictures.encoded(pictures.picture(64, 32))
        found = await infer(calls, asked("detector", wide))
        boxes = np.frombuffer(found.raw_output_contents[0], np.float32)
        np.testing.assert_allclose(boxes, [16, -8, 48, 24, 0.5], atol=1e-4)
        error = await failure(infer(calls, asked("echo", photo[:900])))
        assert error.code() is StatusCode.INVALID_ARGUMENT
        assert "truncated" in str(error.details())
        x = np.zeros((1, 3, pictures.SIDE, pictures.SIDE), np.float32)
        await infer(calls, infer_request("echo", [("x", "FP32", x)]))
