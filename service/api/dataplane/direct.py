"""A shorter way for inference requests: from uvicorn's HTTP parser to the queue, and back.

uvicorn makes a task, a scope and two channels for each request, which cost about as much as
everything else that a small model needs. An inference request needs none of them: its body is in
memory before it can be queued, and its answer is written in one piece. All other requests, and
those that are out of the ordinary, go the way of every ASGI application.

What this relies on of uvicorn's protocol class is what that asks of its own cycle of request and
response; the end-to-end tests go through here.
"""

from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service.api.dataplane.call import Call
from service.api.dataplane.connection import NO_HEAD, Connection
from service.api.dataplane.inference import Headers, Inference
from service.api.transport.answers import CLOSE, Answer, Header
from service.api.transport.body import too_large
from service.api.transport.exchange import LookOut
from service.api.transport.http10 import offers_keep_alive
from service.api.transport.reading import FULL
from service.api.transport.target import target_of_url
from service.core.body_cost import LARGE
from service.core.errors import ShuttingDown

VERSIONS = ("1.1", "1.0")
JOINED = 64 * 1024
"""Bytes; to copy a longer answer behind its head takes longer than to send it on its own."""
Admits = Callable[[list[Header]], bool]
"""Whether a prediction with these headers is authorized. Others go through ASGI, where the
middleware answers."""


class DirectProtocol(Connection):
    """uvicorn's HTTP protocol with the shorter way in it; one for each connection."""

    def __init__(
        self, inference: Inference, look_out: LookOut, admits: Admits, **rest: Any
    ) -> None:
        lingering, patience = inference.lingering, inference.body_timeout
        super().__init__(look_out, lingering, patience, inference.traffic, **rest)
        self._admits = admits
        self._inference = inference
        self.call: Call | None = None
        """The request whose body is still coming."""
        self._defaults: list[Header] | None = None
        self._joined = b""

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the request that was coming."""
        if self.call is not None:
            self._look_out.close(self.call)
        super().connection_lost(exc)
        # A call holds its connection. Thousands that hold each other would live until the garbage
        # collector stops everything to find them: 0.1 s after 10,000 refused requests.
        self.call = None
        self.cycle = None  # type: ignore[assignment]  # as before the first request

    def data_received(self, data: bytes) -> None:
        """Take what came; a request that is not there as a whole is looked after."""
        super().data_received(data)
        if len(data) >= FULL:
            self._inference.turns.wait(self)
        call = self.call
        if call is not None and not call.slow and not call.response_complete:
            call.slow = True
            self._look_out.open(call)
            if call.held is None:
                call.expect()

    def on_headers_complete(self) -> None:
        """Take the request if it is one for us."""
        if not self.passes():
            return
        target = target_of_url(self.url)
        headers, version = dict(self.headers), self.parser.get_http_version()
        if target is None or not self._usual(headers, version):
            super().on_headers_complete()
            return
        self.headers = NO_HEAD
        # uvicorn's own code finds in `cycle` what it wants to know of the request under way.
        self.call = call = Call(target, headers, self._inference, self)
        self.cycle = call  # type: ignore[assignment]
        call.keep_alive = self._stays(call, version) and not self._inference.leaving
        length = headers.get(b"content-length")
        if length is not None:
            size = int(length)
            if size > self._inference.body_limit:
                call.refuse(too_large(self._inference.body_limit, size))
            elif size > LARGE:
                call.expect()

    def _stays(self, call: Call, version: str) -> bool:
        """Whether the client can go on with the connection."""
        if version == "1.1":
            return self.parser.should_keep_alive()
        call.accepts_keep_alive = offers_keep_alive(call.headers.items())
        return call.accepts_keep_alive

    def _usual(self, headers: Headers, version: str) -> bool:
        parser, cycle = self.parser, self.cycle
        return (
            (cycle is None or cycle.response_complete)
            and not self.pipeline
            and not self.flow.write_paused
            and parser.get_method() == b"POST"
            and version in VERSIONS
            and not self.expect_100_continue
            and b"content-encoding" not in headers
            and headers.get(b"transfer-encoding", b"chunked") == b"chunked"
            and len(headers) == len(self.headers)  # no header came twice
            and self._admits(self.headers)
        )

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        if self.call is None:
            super().on_body(body)
        else:
            self.call.add(body)

    def on_message_complete(self) -> None:
        """The body is there."""
        call, self.call = self.call, None
        if call is None:
            super().on_message_complete()
            return
        if call.slow:
            self._look_out.close(call)
        if call.response_complete:
            self.hang_up()  # it was refused before its end
        else:
            call.submit()

    def give_up(self) -> None:
        """Tell whoever still waits that there will be no answer."""
        for call in (*self._ahead, self.cycle):
            if isinstance(call, Call) and not call.response_complete:
                call.give_up(ShuttingDown("the server stopped before there was an answer"))

    def _default_headers(self) -> bytes:
        """uvicorn's headers for all answers, which it replaces once a second, for the date."""
        now = self.server_state.default_headers
        if now is not self._defaults:
            self._defaults, self._joined = now, b"".join([b"%b: %b\r\n" % pair for pair in now])
        return self._joined

    def respond(self, call: Call, answer: Answer) -> None:
        """Write the answer, and go on to the client's next request."""
        status, headers, body, rest = answer
        size = answer.size if rest else len(body)
        lines = [b"%b: %b\r\n" % header for header in headers]
        if CLOSE in headers:
            call.keep_alive = False
        elif not call.keep_alive:
            lines.append(b"connection: close\r\n")
        elif call.accepts_keep_alive:
            lines.append(b"connection: keep-alive\r\n")
        last = b"content-length: %d\r\nx-request-id: %b\r\n\r\n" % (size, call.request_id)
        parts = (STATUS_LINE[status], self._default_headers(), *lines, last, body, *rest)
        # Where there is no memory for it, nothing has been said yet.
        whole = b"".join(parts) if size <= JOINED else None
        call.response_complete = True
        if whole is None:
            # One call, so that the write buffer's size includes every part.
            self.transport.writelines(parts)
        else:
            self.transport.write(whole)
        self._inference.finish(call)
        if call is self.call:
            self._look_out.close(call)
            self.linger()
        elif call.keep_alive:
            self.on_response_complete()
        else:
            self.hang_up()
