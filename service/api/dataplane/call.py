"""An inference request without ASGI: both the receiver of the body and the batcher's reply."""

import asyncio
import logging
from collections.abc import Coroutine
from time import perf_counter
from typing import Any

from service.api.dataplane.headers import Headers
from service.api.dataplane.inference import Inference
from service.api.http1.driver import HTTPProtocol
from service.api.http1.request import Request
from service.api.protocol.json_tensors import Bytes
from service.api.protocol.pace import TakesLong
from service.api.transport.answers import Answer
from service.api.transport.body import OFF_THE_LOOP, compress, deflated, too_large, wanted_encoding
from service.api.transport.exchange import Exchange
from service.api.transport.target import Target
from service.core.body_cost import LARGE
from service.core.errors import UNANSWERED, BodyTimeout, QuantserveError, ShuttingDown
from service.core.tensors import Arrays

_log = logging.getLogger(__name__)


class Call(Exchange):
    """One request: first its body while it arrives, then its answer."""

    _body: Bytes = b""
    _task: asyncio.Task[None] | None = None

    def __init__(
        self,
        target: Target,
        headers: Headers,
        inference: Inference,
        request: Request,
        connection: HTTPProtocol,
    ) -> None:
        self.started = perf_counter()  # as in Exchange; calling super() would cost more
        self.target, self.request_id = target, inference.request_id(headers)
        self.headers = headers
        self._inference = inference
        self._request = request
        self._connection = connection

    @property
    def raw(self) -> bool:
        """True if the body has binary tensors, with or without JSON."""
        return b"inference-header-content-length" in self.headers

    def expect(self) -> None:
        """Reserve memory for a body that is large, or that does not arrive at once."""
        length = self._request.head.body_bytes or len(self._body)
        try:
            self._inference.traffic.expect(self, length, self.raw)
        except QuantserveError as error:
            self.refuse(error)

    def receive(self, chunk: Bytes, complete: bool) -> None:
        """Keep a part of the body, within the limit, and queue the request with the last one."""
        if not self._body:
            self._body = chunk
        else:
            # Extended in place: a list of small pieces would need far more memory.
            if type(self._body) is bytes:
                self._body = bytearray(self._body)
            self._body += chunk
        size = len(self._body)
        if size > self._inference.body_limit:
            self.refuse(too_large(self._inference.body_limit))
        elif size - self.weighed < LARGE or self._grow():
            if complete:
                self._submit()
            elif self._request.body_timeout is None:
                self._request.body_timeout = self._inference.body_timeout
                if self.held is None:
                    self.expect()

    def _grow(self) -> bool:
        """Reserve memory for the received part of the body. Return False if there is no room."""
        try:
            self._inference.traffic.grow(self, self._body, self.raw)
        except QuantserveError as error:
            self.refuse(error)
            return False
        return True

    def _submit(self) -> None:
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
        self._reply(self._inference.refuse(self, error))

    def time_out(self) -> None:
        """Refuse a body that takes too long."""
        seconds = self._inference.body_timeout
        self.refuse(BodyTimeout(f"the body did not arrive within {seconds:g} s"))

    def stop(self) -> None:
        """Refuse the request, in any state, because the server stops."""
        if self._task is not None:
            self._task.cancel()
        self.refuse(ShuttingDown(UNANSWERED))

    def disconnect(self) -> None:
        """Cancel the queued request: its client disconnected."""
        self._body = b""
        if self._task is not None:
            self._task.cancel()
        self._inference.abandon(self)
        self._inference.finish(self)

    def _reply(self, answer: Answer) -> None:
        self._connection.reply(self._request, answer, self.request_id)
        self._inference.finish(self)

    # Called by the batcher.

    def done(self) -> bool:
        """Return True if the reply is sent, or if the client has disconnected."""
        return self._request.reply_complete

    def set_result(self, outputs: Arrays) -> None:
        """Answer with the outputs."""
        encoding = None
        try:
            answer = self._inference.answering.answer(self, outputs)
            if b"accept-encoding" in self.headers:
                encoding = wanted_encoding(self.headers, answer.size)
            if encoding is None:
                self._reply(answer)
                return
        except TakesLong:
            self._begin(self._answer_elsewhere(outputs))
            return
        except Exception as error:
            if self.done():
                raise
            self.refuse(error)
            return
        if answer.size < OFF_THE_LOOP:
            body = deflated((answer.body, *answer.rest), encoding)
            self._reply(answer.encoded(encoding, body))
        else:
            self._begin(self._compress(answer, encoding))

    def set_exception(self, error: BaseException) -> None:
        """Answer with an error."""
        self.refuse(error)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Continue in a task, which is cancelled when the client disconnects."""
        self._task = task = asyncio.ensure_future(self._refusing(work))
        self._connection.host.tasks.add(task)
        task.add_done_callback(self._connection.host.tasks.discard)

    async def _refusing(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            if not self.done():
                self.refuse(error)

    async def _admit_elsewhere(self, body: Bytes) -> None:
        await self._inference.admit_elsewhere(self, self.headers, body, self)

    async def _answer_elsewhere(self, outputs: Arrays) -> None:
        answer = await self._inference.answering.answer_elsewhere(self, outputs)
        encoding = wanted_encoding(self.headers, answer.size)
        if encoding is not None:
            await self._compress(answer, encoding)
        elif not self.done():
            self._reply(answer)

    async def _compress(self, answer: Answer, encoding: bytes) -> None:
        parts, elsewhere = (answer.body, *answer.rest), self._inference.elsewhere
        try:
            body = await compress(parts, answer.size, encoding, elsewhere, self.held)
            answer = answer.encoded(encoding, body)
        except (MemoryError, RuntimeError) as error:  # no memory, or no thread
            _log.error("request %s: answer not compressed: %s", self.request_id.decode(), error)
        if not self.done():
            self._reply(answer)
