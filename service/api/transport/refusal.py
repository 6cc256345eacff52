"""An answer sent before the request has been read, with a lingering close.

Closing while the client still sends would reset the connection, and the client may lose the
answer. So the whole answer is sent first. The client gets a moment to read it and to stop sending.
Then the connection is closed.
"""

from collections.abc import Mapping
from typing import Any

from fastapi.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from service.api.protocol.errors import status_of
from service.api.transport.body import swallow
from service.core.errors import Forbidden, Unauthenticated

SMALL_BODY = 2**16
"""Bytes of a body that is read and dropped after a refusal; after more, the connection closes."""


class Refusal(JSONResponse):
    """An error answer. After it, the rest of the request is read for a moment only."""

    def __init__(
        self, body: Mapping[str, Any], status: int, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(body, status, {**(headers or {}), "connection": "close"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, read for a moment, and end."""
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        await swallow(receive)
        await send({"type": "http.response.body", "body": b""})


def turned_away(
    error: Unauthenticated | Forbidden,
    headers: Mapping[str, str],
    body: Mapping[str, Any] | None = None,
) -> JSONResponse:
    """Return the answer to a request without a key that allows it.

    ``headers`` are the headers of the request. ``body`` is the answer's body for protocols with
    their own error format.
    """
    body = body or {"error": str(error)}
    more = {}
    if isinstance(error, Unauthenticated):
        more["www-authenticate"] = 'Bearer realm="quantserve"'
    length = headers.get("content-length", "0")
    if "transfer-encoding" in headers or not length.isdigit() or int(length) > SMALL_BODY:
        return Refusal(body, status_of(error), more)
    return JSONResponse(body, status_of(error), more)
