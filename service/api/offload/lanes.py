"""Work on long bodies and answers, away from the event loop.

There are two lanes, so that a body of some hundred kilobytes does not wait behind those of many
megabytes. Each has one thread, for what gives up the interpreter by itself or in pieces, and one
process, for what does not. Both start when they are needed.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from service.api.offload import jobs
from service.api.offload.jobs import (
    Decoded,
    Encoding,
    decode_v1,
    decode_v2,
    pack,
    portable,
    unpack,
)
from service.api.offload.process import CodecProcess
from service.api.protocol import codec
from service.api.protocol.csv_table import BodyFormat
from service.api.protocol.image_bodies import ImageForm, images_of
from service.api.protocol.json_tensors import Bytes
from service.api.protocol.pace import Pace
from service.core.memory_budget import Reservation
from service.core.padding import Padding
from service.core.requests import InferRequest, InferResponse
from service.core.sizes import HERE_BYTES, HUGE
from service.core.tensors import Signature
from service.engine.host.resources import usable_cores

R = TypeVar("R")


class Lane:
    """A queue of work, first in, first out, for so many ``threads``, and a process."""

    def __init__(self, name: str, threads: int = 1) -> None:
        self._thread = ThreadPoolExecutor(threads, name)
        self.process = CodecProcess()

    async def run(self, work: Callable[..., R], *args: Any, held: Reservation | None = None) -> R:
        """Run work in the thread; work that is cancelled before its turn never runs. The bytes
        ``held`` for it stay reserved until it has ended, even if its client has disconnected.

        Raises:
            MemoryError: there is none for a thread.
        """
        try:
            job = self._thread.submit(work, *args)
        except RuntimeError as error:
            raise MemoryError from error
        if held is not None:
            held.lend()
            loop = asyncio.get_running_loop()
            job.add_done_callback(partial(_take_back, loop, held))
        return await asyncio.wrap_future(job)

    def close(self) -> None:
        """Begin nothing any more, and end the process. Blocks until what was begun has ended."""
        self.process.kill()
        self._thread.shutdown(cancel_futures=True)
        self.process.close()


def _take_back(loop: asyncio.AbstractEventLoop, held: Reservation, _: object) -> None:
    """Take memory back on the event loop, which alone may change budgets; from any thread."""
    with suppress(RuntimeError):  # the loop is closed, and nobody reserves anything any more
        loop.call_soon_threadsafe(held.take_back)


class Elsewhere:
    """Where long bodies are read and long answers written. ``held`` are the bytes reserved for
    each; ``cores`` how many images are decoded side by side, 0: as many as there are cores."""

    def __init__(self, cores: int = 0) -> None:
        self.lanes = (Lane("codec"), Lane("codec of large bodies"))
        self.steps = Lane("decompression")
        """For short steps, which take turns: here a body waits for no other one as a whole."""
        self.images = Lane("images", cores or usable_cores())
        """For images, one a piece of work: Pillow gives up the interpreter."""

    def lane(self, size: int) -> Lane:
        """The lane for a body of ``size`` bytes."""
        return self.lanes[size > HUGE]

    async def decode(
        self,
        body: Bytes,
        header_length: int | None,
        signature: Signature,
        held: Reservation | None = None,
    ) -> InferRequest:
        """See ``codec.decode``; long JSON becomes the datatypes of the ``signature``.

        Raises:
            MalformedRequest, SignatureMismatch: see there, and ``Signature.conform``.
            CodecFailed: see there.
        """
        lane = self.lane(len(body))
        if (len(body) if header_length is None else header_length) <= HERE_BYTES:
            return await lane.run(_decoded, body, header_length, held=held)
        there = (lane.process, decode_v2, body, header_length, signature)
        return await lane.run(_decoded_there, *there, held=held)

    async def decode_raw(
        self, body: Bytes, signature: Signature, held: Reservation | None = None
    ) -> InferRequest:
        """See ``codec.decode_raw``."""
        return await self.lane(len(body)).run(_decoded_raw, body, signature, held=held)

    async def decode_v1(
        self,
        body: Bytes,
        signature: Signature,
        padding: Padding | None = None,
        form: BodyFormat = "json",
        held: Reservation | None = None,
    ) -> InferRequest:
        """See ``v1.decode``."""
        lane = self.lane(len(body))
        there = (lane.process, decode_v1, body, signature, padding, form)
        return await lane.run(_decoded_there, *there, held=held)

    async def decode_images(
        self,
        body: Bytes,
        header_length: int | None,
        form: ImageForm,
        name: str,
        held: Reservation | None = None,
    ) -> tuple[list[Any], InferRequest]:
        """The images of a body in JSON or with binary tensors, and the request without them; see
        ``jobs.decode_images``.

        Raises:
            MalformedRequest, CodecFailed: see there.
        """
        asked = (body, header_length, form, name)
        if (len(body) if header_length is None else header_length) > HERE_BYTES:
            lane = self.lane(len(body))
            return await lane.run(_images_there, lane.process, *asked, held=held)
        return await self.images.run(_images_here, *asked, held=held)

    async def encode(
        self, response: InferResponse, encoding: Encoding, held: Reservation | None = None
    ) -> tuple[Bytes, int | None]:
        """See ``jobs.encode``."""
        lane = self.lane(sum(tensor.array.nbytes for tensor in response.outputs))
        return await lane.run(_encoded_there, lane.process, response, encoding, held=held)

    def close(self) -> None:
        """End all of it. Blocks."""
        for lane in (*self.lanes, self.steps, self.images):
            lane.close()


def _decoded(body: Bytes, header_length: int | None) -> InferRequest:
    return codec.decode(body, header_length, Pace())


def _decoded_raw(body: Bytes, signature: Signature) -> InferRequest:
    return codec.decode_raw(body, signature, Pace())


def _decoded_there(
    process: CodecProcess, job: Callable[..., Decoded], body: Bytes, *more: object
) -> InferRequest:
    request, inputs = process.call(job, portable(body), *more)
    return request._replace(inputs=unpack(inputs, Pace()))


def _images_here(
    body: Bytes, header_length: int | None, form: ImageForm, name: str
) -> tuple[list[Any], InferRequest]:
    return images_of(name, jobs.read_images(body, header_length, form, name))


def _images_there(
    process: CodecProcess, body: Bytes, header_length: int | None, form: ImageForm, name: str
) -> tuple[list[Any], InferRequest]:
    asked = (portable(body), header_length, form, name)
    request, inputs, images = process.call(jobs.decode_images, *asked)
    return images, request._replace(inputs=unpack(inputs, Pace()))


def _encoded_there(
    process: CodecProcess, response: InferResponse, encoding: Encoding
) -> tuple[Bytes, int | None]:
    outputs = pack(response.outputs, Pace())
    body, length = process.call(jobs.encode, response._replace(outputs=()), outputs, encoding)
    return body, length
