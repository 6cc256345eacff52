"""A shorter way for inference requests: from uvicorn's HTTP parser to the queue, and back.

uvicorn makes a task, a scope and two channels for each request, which cost about as much as
everything else that a small model needs. An inference request needs none of them: its body is in
memory before it can be queued, and its answer is written in one piece. All other requests, and
those that are out of the ordinary, go the way of every ASGI application.

What this relies on of uvicorn's protocol class is what that asks of its own cycle of request and
response; the end-to-end tests go through here.
"""

import asyncio
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.api.answers import CLOSE, Answer, Header
from service.api.body import OFF_THE_LOOP, compress, deflated, wanted_encoding
from service.api.exchange import Exchange, LookOut, Target
from service.api.inference import Headers, Inference
from service.core.errors import BodyTimeout, BodyTooLarge
from service.core.tensors import Arrays

TARGET = re.compile(
    rb"/v2/models/([\w.-]+)(?:/versions/([\w.-]+))?/infer"
    rb"|/v1/models/([\w.-]+)(?:/versions/([\w.-]+))?:predict"
)


@lru_cache(maxsize=1024)
def _target_of(url: bytes) -> Target | None:
    match = TARGET.fullmatch(url)
    if match is None:
        return None
    v2, n2, one, n1 = (None if group is None else group.decode() for group in match.groups())
    return Target("v2", v2, n2) if v2 is not None else Target("v1", one or "", n1)


Admits = Callable[[list[Header]], bool]
"""Whether a prediction with these headers is let in; who is not gets the answer of the door."""


class DirectProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with the shorter way in it; one for each connection."""

    def __init__(
        self, inference: Inference, look_out: LookOut, admits: Admits, **rest: Any
    ) -> None:
        super().__init__(**rest)
        self._admits = admits
        self._inference = inference
        self._look_out = look_out
        self._call: Call | None = None

    def data_received(self, data: bytes) -> None:
        """Take what came; a request that is not there as a whole is looked after."""
        super().data_received(data)
        call = self._call
        if call is not None and not call.slow and not call.response_complete:
            call.slow = True
            self._look_out.open(call)

    def on_message_begin(self) -> None:
        """Begin a request; the scope that ASGI wants is made when it is known to be wanted."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        """Take the request if it is one for us."""
        target, headers = _target_of(self.url), dict(self.headers)
        if target is None or not self._usual(headers):
            url, given, expects = self.url, self.headers, self.expect_100_continue
            super().on_message_begin()
            self.url, self.expect_100_continue = url, expects
            self.headers += given
            super().on_headers_complete()
            return
        # uvicorn's own code finds in `cycle` what it wants to know of the request under way.
        self._call = call = Call(target, headers, self._inference, self)
        self.cycle = cast(Any, call)
        call.keep_alive = self.parser.should_keep_alive()
        length = headers.get(b"content-length")
        if length is not None and int(length) > self._inference.body_limit:
            call.refuse(_too_large(self._inference.body_limit, f"{int(length)} bytes"))

    def _usual(self, headers: Headers) -> bool:
        parser, cycle = self.parser, self.cycle
        return (
            (cycle is None or cycle.response_complete)
            and not self.pipeline
            and parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and not parser.should_upgrade()
            and not self.expect_100_continue
            and b"content-encoding" not in headers
            and self._admits(self.headers)
        )

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        if self._call is None:
            super().on_body(body)
        else:
            self._call.add(body)

    def on_message_complete(self) -> None:
        """The body is there."""
        call, self._call = self._call, None
        if call is None:
            super().on_message_complete()
            return
        if call.slow:
            self._look_out.close(call)
        call.submit()

    def respond(self, call: "Call", answer: Answer) -> None:
        """Write the answer, unless the client has left, and go on to its next request."""
        status, headers, body = answer
        parts = [STATUS_LINE[status]]
        for name, value in (*self.server_state.default_headers, *headers):
            parts += (name, b": ", value, b"\r\n")
        if CLOSE in headers:
            call.keep_alive = False
        elif not call.keep_alive:
            parts.append(b"connection: close\r\n")
        parts += (
            b"content-length: %d\r\nx-request-id: " % len(body),
            call.request_id,
            b"\r\n\r\n",
            body,
        )
        call.response_complete = True
        self.transport.write(b"".join(parts))
        self._inference.finish(call)
        if call.slow:
            self._look_out.close(call)
        if not call.keep_alive:
            self.transport.close()
        self.on_response_complete()


class Call(Exchange):
    """A request on a connection; the batcher's reply and uvicorn's cycle at once."""

    __slots__ = (
        "_chunks", "_headers", "_inference", "_protocol", "_size", "disconnected", "keep_alive",
        "response_complete", "slow",
    )  # fmt: skip

    def __init__(
        self, target: Target, headers: Headers, inference: Inference, protocol: DirectProtocol
    ) -> None:
        super().__init__(target, inference.request_id(headers))
        self._headers = headers
        self._inference = inference
        self._protocol = protocol
        self._chunks: list[bytes] = []
        self._size = 0
        self.slow = False
        self.keep_alive = True
        self.response_complete = False
        self.disconnected = False

    def add(self, chunk: bytes) -> None:
        """Keep a part of the body, within the limit."""
        self._size += len(chunk)
        if self.response_complete:
            return
        if self._size > self._inference.body_limit:
            self.refuse(_too_large(self._inference.body_limit, "more"))
        self._chunks.append(chunk)

    def submit(self) -> None:
        """Queue the request: all of it is there."""
        if self.response_complete:
            return
        chunks, self._chunks = self._chunks, []
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        try:
            self._inference.admit(self, self._headers, body, self)
        except Exception as error:
            self.refuse(error)

    def refuse(self, error: BaseException) -> None:
        """Answer with an error."""
        self._chunks = []
        self._protocol.respond(self, self._inference.refuse(self, error))

    def look(self, waited: float) -> None:
        """Refuse a body that takes too long."""
        seconds = self._inference.body_timeout
        if waited > seconds and not self.response_complete:
            self.refuse(BodyTimeout(f"the body did not arrive within {seconds:g} s"))

    # What the batcher asks of a reply.

    def done(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.response_complete

    def set_result(self, outputs: Arrays) -> None:
        """Answer with the outputs."""
        try:
            answer = self._inference.answer(self, outputs)
            encoding = wanted_encoding(self._headers, answer.body)
        except Exception as error:
            self.refuse(error)
            return
        if encoding is None:
            self._protocol.respond(self, answer)
        elif len(answer.body) < OFF_THE_LOOP:
            self._protocol.respond(self, answer.encoded(encoding, deflated(answer.body, encoding)))
        else:
            task = asyncio.ensure_future(self._respond_compressed(answer, encoding))
            self._protocol.tasks.add(task)
            task.add_done_callback(self._protocol.tasks.discard)

    def set_exception(self, error: BaseException) -> None:
        """Answer with an error."""
        self.refuse(error)

    async def _respond_compressed(self, answer: Answer, encoding: bytes) -> None:
        body = await compress(answer.body, encoding)
        if not self.response_complete:
            self._protocol.respond(self, answer.encoded(encoding, body))

    # What uvicorn asks of a cycle; the rest are attributes.

    @property
    def message_event(self) -> "Call":
        """What uvicorn sets when the connection is lost."""
        return self

    def set(self) -> None:
        """The client is gone."""
        if self.disconnected and not self.response_complete:
            self.response_complete = True
            self._inference.abandon(self)
            self._inference.finish(self)


def _too_large(limit: int, came: str) -> BodyTooLarge:
    return BodyTooLarge(f"the body has {came}, the limit is {limit} bytes")
