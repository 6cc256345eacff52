"""The choice of a receiver for each request: inference without ASGI if possible, else ASGI.

For each request, ASGI needs a task, a scope and two channels. They cost about as much as everything
else for a small model. An inference request does not need them: its body is in memory before it can
be queued, and its reply is written at once. Unusual requests use ASGI.
"""

from collections.abc import Callable, Container
from functools import partial
from typing import Any

import httptools

from service.api.dataplane.call import Call
from service.api.dataplane.inference import Inference
from service.api.http1.asgi_call import App, ASGICall
from service.api.http1.driver import HTTPProtocol, Route
from service.api.http1.request import Header, Receiver, Request
from service.api.transport.answers import refused
from service.api.transport.body import too_large
from service.api.transport.target import target_of_url
from service.core.body_cost import LARGE
from service.core.errors import MalformedRequest

Admits = Callable[[list[Header]], bool]
"""Returns True if a prediction with these headers is authorized. Other requests use ASGI, where the
data plane refuses them."""


class Routing:
    """Finds the receiver for each request of a connection. ``app`` answers all requests for the
    models ``elsewhere``, which another process has."""

    def __init__(
        self,
        inference: Inference,
        admits: Admits,
        app: App,
        elsewhere: Container[str] = frozenset(),
    ) -> None:
        self._inference = inference
        self._admits = admits
        self._app = app
        self._elsewhere = elsewhere

    def route(self, state: dict[str, Any]) -> Route:
        """Return the route of a connection; ``state`` is set by the application's lifespan."""
        return partial(self._receiver, state)

    def _receiver(
        self, state: dict[str, Any], request: Request, connection: HTTPProtocol
    ) -> Receiver | None:
        head = request.head
        target = target_of_url(head.url)
        if target is None or target.model in self._elsewhere:
            return self._asgi_call(state, request, connection)
        if not (head.plain_post and self._admits(head.headers)):
            return self._asgi_call(state, request, connection)
        inference = self._inference
        call = Call(target, head.fields, inference, request, connection)
        if inference.leaving:
            request.keep_alive = False
        if head.body_bytes > inference.body_limit:
            call.refuse(too_large(inference.body_limit, head.body_bytes))
        elif head.body_bytes > LARGE:
            call.expect()
        return call

    def _asgi_call(
        self, state: dict[str, Any], request: Request, connection: HTTPProtocol
    ) -> ASGICall | None:
        if self._inference.leaving:
            request.keep_alive = False
        try:
            return ASGICall(self._app, state, request, connection)
        except httptools.HttpParserInvalidURLError:
            shown = request.head.url.decode("latin-1")
            error = MalformedRequest(f'the address "{shown:.40}" is not a valid URL')
            request.keep_alive = False
            connection.reply(request, refused(error), self._inference.request_id({}))
            return None
