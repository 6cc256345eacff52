"""A request on a connection that takes the shorter way: the batcher's reply and uvicorn's cycle of
request and response at once.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Protocol

from service.api.dataplane.inference import Headers, Inference
from service.api.protocol.json_tensors import Bytes
from service.api.protocol.pace import TakesLong
from service.api.transport.answers import Answer
from service.api.transport.body import OFF_THE_LOOP, compress, deflated, too_large, wanted_encoding
from service.api.transport.exchange import Exchange
from service.api.transport.target import Target
from service.core.body_cost import LARGE
from service.core.errors import BodyTimeout, QuantserveError
from service.core.tensors import Arrays

_log = logging.getLogger(__name__)


class Line(Protocol):
    """The connection that a request came over; ``call`` is the one whose body is still coming."""

    call: "Call | None"
    tasks: set[asyncio.Task[Any]]

    def respond(self, call: "Call", answer: Answer, /) -> None:
        """Write the answer."""


class Call(Exchange):
    """One request: its body while it comes, then its answer."""

    slow = False
    keep_alive = True
    accepts_keep_alive = False
    response_complete = False
    disconnected = False
    _body: Bytes = b""
    _task: asyncio.Task[None] | None = None

    def __init__(self, target: Target, headers: Headers, inference: Inference, line: Line) -> None:
        super().__init__(target, inference.request_id(headers))
        self.headers = headers
        self._inference = inference
        self._line = line

    @property
    def raw(self) -> bool:
        """Whether raw tensors are in the body, or nothing else."""
        return b"inference-header-content-length" in self.headers

    def expect(self) -> None:
        """Reserve memory for a body that is large, or that does not come at once."""
        length = int(self.headers.get(b"content-length", b"0")) or len(self._body)
        try:
            self._inference.traffic.expect(self, length, self.raw)
        except QuantserveError as error:
            self.refuse(error)

    def add(self, chunk: bytes) -> None:
        """Keep a part of the body, within the limit."""
        if self.response_complete:
            return
        if not self._body:
            self._body = chunk
        elif type(self._body) is bytes:
            # Grown in place: a list of pieces takes far more memory when they are small.
            self._body = bytearray(self._body) + chunk
        else:
            self._body += chunk
        size = len(self._body)
        if size > self._inference.body_limit:
            self.refuse(too_large(self._inference.body_limit))
        elif size >= LARGE and size - self.weighed >= LARGE:
            self._grow()

    def _grow(self) -> None:
        try:
            self._inference.traffic.grow(self, self._body, self.raw)
        except QuantserveError as error:
            self.refuse(error)

    def submit(self) -> None:
        """Queue the request: all of it is there."""
        if self.response_complete:
            return
        body, self._body = self._body, b""
        try:
            self._inference.admit(self, self.headers, body, self)
        except TakesLong:
            self._begin(self._admit_elsewhere(body))
        except Exception as error:
            self.refuse(error)

    def refuse(self, error: BaseException) -> None:
        """Answer with an error."""
        self._body = b""
        self._line.respond(self, self._inference.refuse(self, error))

    def give_up(self, error: BaseException) -> None:
        """Answer with an error, whatever is being done for the request."""
        if self._task is not None:
            self._task.cancel()
        self.refuse(error)

    def look(self, now: float) -> None:
        """Refuse a body that takes too long."""
        seconds = self._inference.body_timeout
        if now - self.started > seconds and not self.response_complete:
            self.refuse(BodyTimeout(f"the body did not arrive within {seconds:g} s"))

    # What the batcher asks of a reply.

    def done(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.response_complete

    def set_result(self, outputs: Arrays) -> None:
        """Answer with the outputs."""
        encoding = None
        try:
            answer = self._inference.answer(self, outputs)
            if b"accept-encoding" in self.headers:
                encoding = wanted_encoding(self.headers, answer.size)
            if encoding is None:
                self._line.respond(self, answer)
                return
        except TakesLong:
            self._begin(self._answer_elsewhere(outputs))
            return
        except Exception as error:
            if self.response_complete:
                raise
            self.refuse(error)
            return
        if answer.size < OFF_THE_LOOP:
            body = deflated((answer.body, *answer.rest), encoding)
            self._line.respond(self, answer.encoded(encoding, body))
        else:
            self._begin(self._compress(answer, encoding))

    def set_exception(self, error: BaseException) -> None:
        """Answer with an error."""
        self.refuse(error)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Go on in a task; it is cancelled when the client leaves."""
        self._task = task = asyncio.ensure_future(self._refusing(work))
        self._line.tasks.add(task)
        task.add_done_callback(self._line.tasks.discard)

    async def _refusing(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            if not self.response_complete:
                self.refuse(error)

    async def _admit_elsewhere(self, body: Bytes) -> None:
        await self._inference.admit_elsewhere(self, self.headers, body, self)

    async def _answer_elsewhere(self, outputs: Arrays) -> None:
        answer = await self._inference.answer_elsewhere(self, outputs)
        encoding = wanted_encoding(self.headers, answer.size)
        if encoding is not None:
            await self._compress(answer, encoding)
        elif not self.response_complete:
            self._line.respond(self, answer)

    async def _compress(self, answer: Answer, encoding: bytes) -> None:
        parts, elsewhere = (answer.body, *answer.rest), self._inference.elsewhere
        try:
            body = await compress(parts, answer.size, encoding, elsewhere, self.held)
            answer = answer.encoded(encoding, body)
        except (MemoryError, RuntimeError) as error:  # no memory, or none for a thread
            _log.error("request %s is not compressed: %s", self.request_id.decode(), error)
        if not self.response_complete:
            self._line.respond(self, answer)

    # What uvicorn asks of a cycle; the rest are attributes.

    @property
    def more_body(self) -> bool:
        """Whether the request is still coming."""
        return self._line.call is self

    @property
    def message_event(self) -> "Call":
        """What uvicorn sets when the connection is lost."""
        return self

    def set(self) -> None:
        """The client is gone."""
        if self.disconnected and not self.response_complete:
            self.response_complete = True
            self._body = b""
            if self._task is not None:
                self._task.cancel()
            self._inference.abandon(self)
            self._inference.finish(self)
