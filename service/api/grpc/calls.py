"""A request of ModelInfer, or one request of a stream, and its path through the server."""

import asyncio
import logging

import orjson
from grpc import StatusCode

from service.api.dataplane.headers import Headers
from service.api.dataplane.inference import Inference
from service.api.grpc.decoding import decode, decoded_there
from service.api.grpc.statuses import code_of
from service.api.grpc.wire import Parts, split
from service.api.protocol.json_tensors import Buffer
from service.api.protocol.pace import Pace, TakesLong
from service.api.transport.answers import Answer
from service.api.transport.exchange import Exchange
from service.api.transport.target import Target
from service.core.body_cost import LARGE
from service.core.errors import UNANSWERED, ShuttingDown
from service.core.memory_budget import Reservation
from service.core.requests import InferRequest
from service.core.sizes import HERE_BYTES
from service.core.tensors import Arrays

PROTOCOL = "grpc"
UNREAD = Target(PROTOCOL, "", None)
"""The target of a request whose message has not been decoded."""
_log = logging.getLogger(__name__)


class Refused(Exception):  # noqa: N818 - the client's error
    """A failed request: the status code, message and metadata of its answer."""

    def __init__(self, answer: Answer) -> None:
        text: str = orjson.loads(bytes(answer.body))["error"]
        super().__init__(text)
        self.answer = answer
        self.code: StatusCode = code_of(answer.status)
        self.text = text
        retry = [(n.decode(), v.decode()) for n, v in answer.headers if n == b"retry-after"]
        self.metadata = tuple(retry)


class Call(Exchange):
    """One request, its memory and its outcome. ``parts`` are those of its message, if it has been
    split before."""

    def __init__(self, inference: Inference, headers: Headers, parts: Parts | None = None) -> None:
        super().__init__(UNREAD, inference.request_id(headers))
        self._inference = inference
        self._headers = headers
        self._parts = parts
        self._reply: asyncio.Future[Arrays] = asyncio.get_running_loop().create_future()

    async def answer(self, body: bytes, allowed: float | None) -> list[Buffer]:
        """Return the parts of the answer's message. ``allowed`` is the client's deadline, in
        seconds from now.

        Raises:
            Refused: the request failed.
            CancelledError: the client has cancelled the request, which is removed from the queue.
        """
        inference = self._inference
        try:
            parts = self._parts or split(body)
            self.target = Target(PROTOCOL, parts.model, parts.version or None)
            if len(body) > LARGE:
                self._expect(body, parts)
            image = inference.images.input_name(self)
            try:
                request = decode(body, parts, image=image)
            except TakesLong:
                request = await self._decoded_elsewhere(body, parts, image)
            del body
            if request.shared is not None:
                request = await inference.shared.fill(self, request)
            if image is not None:
                request = await inference.images.replace(self, request)
            if allowed is not None and (request.timeout is None or allowed < request.timeout):
                request = request._replace(timeout=max(allowed, 0.0))
            alone = len(parts.head) > HERE_BYTES
            inference.admit_read(self, self._headers, request, self._reply, alone)
            outputs = await self._reply
            try:
                answer = inference.answering.answer(self, outputs)
            except TakesLong:
                answer = await inference.answering.answer_elsewhere(self, outputs)
        except asyncio.CancelledError:
            self._reply.cancel()
            if inference.leaving and self.admitted:
                inference.refuse(self, ShuttingDown(UNANSWERED))
            inference.abandon(self)
            raise
        except Exception as error:
            raise Refused(inference.refuse(self, error)) from None
        return list(answer.rest)

    def finish(self) -> Reservation | None:
        """Report the outcome. Return the memory that stays reserved until the answer is sent."""
        held, self.held = self.held, None
        self._inference.finish(self)
        return held

    def _expect(self, body: bytes, parts: Parts) -> None:
        traffic = self._inference.traffic
        # Typed contents become lists of numbers, as JSON does.
        traffic.expect(self, len(body), raw=len(parts.head) <= LARGE)
        if self.held is not None and b"BYTES" in parts.head[:LARGE]:
            traffic.came(self, body, len(body))

    async def _decoded_elsewhere(
        self, body: bytes, parts: Parts, image: str | None
    ) -> InferRequest:
        lane = self._inference.elsewhere.lane(len(body))
        if len(parts.head) > HERE_BYTES:
            return await lane.run(decoded_there, lane.process, body, image, held=self.held)
        return await lane.run(lambda: decode(body, parts, Pace(), image), held=self.held)
