"""Work on long bodies and answers, outside the event loop.

There are two lanes, so that a body of some hundred kilobytes does not wait behind bodies of many
megabytes. Each lane has one thread, for work that releases the GIL regularly, and one process, for
work that holds the GIL. Both start when they are needed.
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
    """A first-in, first-out queue of work for ``threads`` threads, and a codec process."""

    def __init__(self, name: str, threads: int = 1) -> None:
        self._thread = ThreadPoolExecutor(threads, name)
        self.process = CodecProcess()

    async def run(self, work: Callable[..., R], *args: Any, held: Reservation | None = None) -> R:
        """Run work in a thread. Work that is cancelled before it starts never runs. The bytes
        ``held`` for it stay reserved until it has ended, even if its client has disconnected.

        Raises:
            MemoryError: there is not enough memory for a thread.
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
        """Start no more work, and end the process. Blocks until running work has ended."""
        self.process.kill()
        self._thread.shutdown(cancel_futures=True)
        self.process.close()


def _take_back(loop: asyncio.AbstractEventLoop, held: Reservation, _: object) -> None:
    """Take memory back from any thread. The event loop does it: only it may change budgets."""
    with suppress(RuntimeError):  # the loop is closed: no more memory is reserved
        loop.call_soon_threadsafe(held.take_back)


class Elsewhere:
    """Decoding of long bodies and encoding of long answers outside the event loop.

    ``held`` are the bytes reserved for a body or an answer. ``cores`` is the number of images
    decoded in parallel; 0 means one for each usable core.
    """

    def __init__(self, cores: int = 0) -> None:
        self.lanes = (Lane("codec"), Lane("codec of large bodies"))
        self.steps = Lane("decompression")
        """For short steps of many bodies in turns: no body waits until another is complete."""
        self.images = Lane("images", cores or usable_cores())
        """For images, one at a time in each thread: Pillow releases the GIL."""

    def lane(self, size: int) -> Lane:
        """Return the lane for a body of ``size`` bytes."""
        return self.lanes[size > HUGE]

    async def decode(
        self,
        body: Bytes,
        header_length: int | None,
        signature: Signature,
        held: Reservation | None = None,
    ) -> InferRequest:
        """Decode a body; see ``codec.decode``. Values in long JSON are converted to the datatypes
        of the ``signature``.

        Raises:
            MalformedRequest, SignatureMismatch: see ``codec.decode`` and ``Signature.conform``.
            CodecFailed: see ``CodecProcess.call``.
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
        """Return the images of a body in JSON or with binary tensors, and the request without them.

        Raises:
            MalformedRequest, CodecFailed: see ``jobs.decode_images`` and ``CodecProcess.call``.
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
        """End all threads and processes. Blocks."""
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
