"""ModelStreamInfer: requests and their answers on one call.

Requests of a stream are processed concurrently, so that they can share a batch. Answers are sent in
the order of the requests. A failed request gets an answer with an error, and the stream continues.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from service.api.dataplane.headers import Headers
from service.api.grpc.calls import Refused
from service.api.grpc.forwarded import Calls
from service.api.grpc.metadata import Admit, headers_of, turn_away_unless
from service.api.grpc.wire import field, prefix, split
from service.core.errors import MalformedRequest
from service.core.memory_budget import Reservation

AHEAD = 64
"""The maximum number of requests of one stream that are in progress or whose answers wait for the
client."""
ERROR, RESPONSE, ID, PARAMETERS = 0x0A, 0x12, 0x1A, 0x22
"""Tags of the fields of ModelStreamInferResponse, and of two of ModelInferResponse."""
FINAL = field(PARAMETERS, field(0x0A, b"triton_final_response") + field(0x12, b"\x08\x01"))
"""The parameter by which Triton's clients detect the last answer to a request."""
Answered = tuple[bytes, Reservation | None]


class ModelStreamInfer:
    """Answers streams. ``seconds`` is the timeout for a client to receive an answer."""

    def __init__(self, calls: Calls, admit: Admit, seconds: float) -> None:
        self._calls = calls
        self._admit = admit
        self._seconds = seconds

    async def answer(self, bodies: AsyncIterator[bytes], context: Any) -> None:
        """Answer all requests, until the client has ended the stream."""
        metadata = context.invocation_metadata()
        if self._admit is not None:
            await turn_away_unless(self._admit, context, metadata)
        waiting: asyncio.Queue[asyncio.Task[Answered] | None] = asyncio.Queue(AHEAD)
        reader = asyncio.ensure_future(self._read(bodies, headers_of(metadata), waiting))
        try:
            while (task := await waiting.get()) is not None:
                message, held = await task
                try:
                    async with asyncio.timeout(self._seconds):
                        await context.write(message)
                finally:
                    if held is not None:
                        held.release()
            await reader
        finally:
            reader.cancel()
            while not waiting.empty():
                if (left := waiting.get_nowait()) is not None:
                    left.cancel()
                    left.add_done_callback(_release)

    async def _read(
        self,
        bodies: AsyncIterator[bytes],
        headers: Headers,
        waiting: "asyncio.Queue[asyncio.Task[Answered] | None]",
    ) -> None:
        try:
            async for body in bodies:
                await waiting.put(asyncio.ensure_future(self._answer(body, headers)))
        finally:
            with suppress(asyncio.QueueFull):
                waiting.put_nowait(None)

    async def _answer(self, body: bytes, headers: Headers) -> Answered:
        call = self._calls.of(body, headers)
        try:
            parts = [*await call.answer(body, None), FINAL]
            size = sum([len(part) for part in parts])
            return b"".join([prefix(RESPONSE, size), *parts]), call.finish()
        except Refused as refused:
            text = field(ERROR, refused.text.encode())
            return text + field(RESPONSE, _id(body) + FINAL), call.finish()
        except BaseException:
            if (held := call.finish()) is not None:
                held.release()
            raise


def _id(body: bytes) -> bytes:
    """Return the field with the id of a request, by which clients assign an error to a request."""
    try:
        id = split(body).id
    except MalformedRequest:
        return b""
    return field(ID, id.encode()) if id else b""


def _release(task: "asyncio.Task[Answered]") -> None:
    if not task.cancelled() and task.exception() is None and (held := task.result()[1]):
        held.release()
