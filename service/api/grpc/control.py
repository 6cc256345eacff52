"""All calls except inference: each is sent to the control plane as the equivalent HTTP request.

So the check of keys, the audit, errors and the agreement of several workers are the same as over
HTTP, and both protocols give the same answers.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson
from google.protobuf.json_format import ParseDict
from grpc import StatusCode

from service.api.grpc.messages import message
from service.api.grpc.metadata import pairs_of
from service.api.grpc.statuses import code_of
from service.api.http1.asgi_call import App
from service.api.transport.collected import collected

Answers = Callable[[Any], Mapping[str, Any]]


class Asked(NamedTuple):
    """An HTTP request to the control plane."""

    method: str
    path: str
    body: bytes = b""


class Said(NamedTuple):
    """The HTTP answer of the control plane."""

    status: int
    body: bytes


class ControlPlane:
    """Sends requests to the control plane's application, ``app``."""

    def __init__(self, app: App) -> None:
        self._app = app
        # Changes continue when their client disconnects, as over HTTP.
        self._tasks: set[asyncio.Task[Said]] = set()

    async def ask(self, asked: Asked, context: Any) -> Said:
        """Return the answer for a caller with the metadata and address of ``context``."""
        task = asyncio.ensure_future(self._ask(asked, context))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def answer(
        self,
        asked: Asked,
        context: Any,
        response: str,
        form: Answers,
        codes: Mapping[int, StatusCode],
    ) -> Any:
        """Return the answer as the message ``response``, after ``form`` has converted it.

        If the answer is an error, abort the call. Its status code is looked up in ``codes``, else
        it is the usual code of the HTTP status.
        """
        status, body = await self.ask(asked, context)
        found = orjson.loads(body) if body else {}
        if status != 200:
            await context.abort(codes.get(status) or code_of(status), str(found.get("error", "")))
        return ParseDict(
            form(found), message(f"inference.{response}")(), ignore_unknown_fields=True
        )

    async def _ask(self, asked: Asked, context: Any) -> Said:
        method, path, body = asked
        headers = [p for p in pairs_of(context.invocation_metadata()) if p[0] != b"content-length"]
        scope = {
            "type": "http",
            "http_version": "2",
            "method": method,
            "path": path,
            "raw_path": quote(path).encode(),
            "query_string": b"",
            "headers": [*headers, (b"content-length", b"%d" % len(body))],
            "client": client_of(context.peer()),
        }
        answer = await collected(self._app, scope, body)
        return Said(answer.status, bytes(answer.body))


def client_of(peer: str) -> tuple[str, int] | None:
    """Return address and port of a caller from gRPC's form, such as ``ipv4:127.0.0.1:5000`` or
    ``ipv6:%5B::1%5D:5000``; None for any other form."""
    kind, _, address = peer.partition(":")
    host, _, port = address.rpartition(":")
    if kind not in ("ipv4", "ipv6") or not port.isdigit():
        return None
    return host.replace("%5B", "").replace("%5D", "").strip("[]"), int(port)
