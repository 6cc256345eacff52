"""Work on long bodies and answers, away from the event loop.

There are two lanes, so that a body of some hundred kilobytes does not wait behind those of many
megabytes. Each has one thread, for what gives up the interpreter by itself or in pieces, and one
process, for what does not. Both start when they are needed.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from service.api import codec, codec_jobs
from service.api.codec_jobs import (
    Decoded,
    Encoding,
    decode_v1,
    decode_v2,
    pack,
    portable,
    unpack,
)
from service.api.codec_process import CodecProcess
from service.api.json_tensors import Bytes
from service.api.pace import Pace
from service.core.requests import InferRequest, InferResponse
from service.core.sizes import HERE_BYTES, HUGE
from service.core.tensors import Signature

R = TypeVar("R")


class Lane:
    """One thing after the other, in the order in which it was asked for."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, name)
        self.process = CodecProcess()

    async def run(self, work: Callable[..., R], *args: Any) -> R:
        """Run it in the thread; what is cancelled before its turn never runs."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(work, *args))

    def close(self) -> None:
        """Begin nothing any more, and end the process. Blocks until what was begun has ended."""
        self.process.kill()
        self._thread.shutdown(cancel_futures=True)
        self.process.close()


class Elsewhere:
    """Where long bodies are read and long answers written."""

    def __init__(self) -> None:
        self.lanes = (Lane("codec"), Lane("codec of large bodies"))

    def lane(self, size: int) -> Lane:
        """The lane for so many bytes."""
        return self.lanes[size > HUGE]

    async def decode(self, body: Bytes, header_length: int | None) -> InferRequest:
        """See ``codec.decode``.

        Raises:
            MalformedRequest: see there.
            CodecFailed: see there.
        """
        lane = self.lane(len(body))
        if (len(body) if header_length is None else header_length) <= HERE_BYTES:
            return await lane.run(_decoded, body, header_length)
        return await lane.run(_decoded_there, lane.process, decode_v2, body, header_length)

    async def decode_raw(self, body: Bytes, signature: Signature) -> InferRequest:
        """See ``codec.decode_raw``."""
        return await self.lane(len(body)).run(_decoded_raw, body, signature)

    async def decode_v1(self, body: Bytes, signature: Signature) -> InferRequest:
        """See ``v1.decode``."""
        lane = self.lane(len(body))
        return await lane.run(_decoded_there, lane.process, decode_v1, body, signature)

    async def encode(self, response: InferResponse, encoding: Encoding) -> tuple[Bytes, int | None]:
        """See ``codec_jobs.encode``."""
        lane = self.lane(sum(tensor.array.nbytes for tensor in response.outputs))
        return await lane.run(_encoded_there, lane.process, response, encoding)

    def close(self) -> None:
        """End all of it. Blocks."""
        for lane in self.lanes:
            lane.close()


def _decoded(body: Bytes, header_length: int | None) -> InferRequest:
    return codec.decode(body, header_length, Pace())


def _decoded_raw(body: Bytes, signature: Signature) -> InferRequest:
    return codec.decode_raw(body, signature, Pace())


def _decoded_there(
    process: CodecProcess, job: Callable[..., Decoded], body: Bytes, more: object
) -> InferRequest:
    request, inputs = process.call(job, portable(body), more)
    return request._replace(inputs=unpack(inputs, Pace()))


def _encoded_there(
    process: CodecProcess, response: InferResponse, encoding: Encoding
) -> tuple[Bytes, int | None]:
    outputs = pack(response.outputs, Pace())
    body, length = process.call(codec_jobs.encode, response._replace(outputs=()), outputs, encoding)
    return body, length
