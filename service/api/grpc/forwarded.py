"""Inference requests over gRPC for models with a dedicated worker.

The worker that has the connection sends the undecoded message to the dedicated worker as the body
of an HTTP request. The body of the answer is the response message, or an error.
"""

from collections.abc import Callable, Mapping
from typing import Any

from service.api.dataplane.headers import Headers
from service.api.dataplane.inference import Inference
from service.api.grpc.calls import Call, Refused
from service.api.grpc.wire import split
from service.api.protocol.json_tensors import Buffer
from service.api.transport.answers import BINARY, Answer, refused
from service.api.transport.between import GRPC_SECONDS
from service.api.transport.body import ClientGone, Receive, read_body
from service.api.transport.collected import App, Message, collected
from service.api.transport.disconnect import until_gone
from service.api.transport.traffic import Traffic
from service.core.errors import MalformedRequest, QuantserveError
from service.core.memory_budget import Reservation


class Calls:
    """Creates the call for each request. ``forward`` has the ASGI application that forwards
    requests for each model with a dedicated worker."""

    def __init__(self, inference: Inference, forward: Mapping[str, App]) -> None:
        self._inference = inference
        self._forward = forward

    def of(self, body: bytes, headers: Headers) -> "Call | ForwardedCall":
        """Return the call for a message."""
        if not self._forward:
            return Call(self._inference, headers)
        try:
            parts = split(body)
        except MalformedRequest:
            return Call(self._inference, headers)
        app = self._forward.get(parts.model)
        if app is not None:
            return ForwardedCall(app, headers, self._inference.traffic)
        return Call(self._inference, headers, parts)


class ForwardedCall:
    """A request that a dedicated worker answers; see ``Call``."""

    def __init__(self, app: App, headers: Headers, traffic: Traffic) -> None:
        self._app = app
        self._headers = headers
        self._traffic = traffic

    async def answer(self, body: bytes, allowed: float | None) -> list[Buffer]:
        """Return the parts of the answer's message; see ``Call.answer``.

        Raises:
            Refused: the request failed.
        """
        waits = b"" if allowed is None else b"%.6f" % max(allowed, 0.0)
        length = (b"content-length", b"%d" % len(body))
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": "/",
            "raw_path": b"/",
            "query_string": b"",
            "headers": [*self._headers.items(), (GRPC_SECONDS, waits), length],
        }
        try:
            with self._traffic.body(dict([length]), len(body)):
                answer = await collected(self._app, scope, body)
        except QuantserveError as error:
            raise Refused(refused(error)) from None
        if answer.status != 200:
            raise Refused(answer)
        return [answer.body]

    def finish(self) -> Reservation | None:
        """Return None: the dedicated worker reports the outcome, and reserves memory for the
        answer."""
        return None


async def answer_message(
    inference: Inference, scope: Message, receive: Receive, send: Callable[[Message], Any]
) -> None:
    """Answer a forwarded message in the dedicated worker."""
    headers = dict(scope["headers"])
    try:
        body = bytes(await read_body(headers, receive, inference.body_limit, lambda _: None))
    except ClientGone:
        return
    call, waits = Call(inference, headers), headers[GRPC_SECONDS]
    try:
        try:
            parts = await until_gone(call.answer(body, float(waits) if waits else None), receive)
        except Refused as refusal:
            answer = refusal.answer
        else:
            if parts is None:
                return
            answer = Answer(200, (BINARY,), b"", parts)
        size = (b"content-length", b"%d" % answer.size)
        start = {"type": "http.response.start", "status": answer.status}
        await send({**start, "headers": [*answer.headers, size]})
        whole = b"".join((answer.body, *answer.rest))
        await send({"type": "http.response.body", "body": whole, "more_body": False})
    finally:
        if (held := call.finish()) is not None:
            held.release()
