"""The application of a dedicated worker: its requests come from the other workers."""

from collections.abc import Awaitable, Callable

from service.api.dataplane.asgi import App, Scope, Send
from service.api.transport.between import CLIENT, GRPC_SECONDS
from service.api.transport.body import Receive

AnswerMessage = Callable[[Scope, Receive, Send], Awaitable[None]]


class Received:
    """Restores the client's address from a header. ``answer_message`` answers messages of
    gRPC; None if the server has no port for gRPC. ``app`` answers all other requests."""

    def __init__(self, app: App, answer_message: AnswerMessage | None) -> None:
        self._app = app
        self._answer_message = answer_message

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if self._answer_message is not None and GRPC_SECONDS in headers:
            await self._answer_message(scope, receive, send)
        else:
            await self._app({**scope, "client": _client(headers.get(CLIENT))}, receive, send)


def _client(value: bytes | None) -> tuple[str, int] | None:
    if value is None:
        return None
    host, _, port = value.decode().rpartition(" ")
    return host, int(port)
