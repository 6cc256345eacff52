"""A request answered by an ASGI application, in a task of its own.

Source: https://asgi.readthedocs.io/en/latest/specs/www.html, version 2.3
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

import httptools

from service.api.http1.driver import HTTPProtocol
from service.api.http1.request import Head, Request
from service.api.http1.stream import ReplyStream

_log = logging.getLogger(__name__)
Message = MutableMapping[str, Any]
App = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]
HIGH_WATER = 64 * 1024
"""Bytes of a body to buffer for an application that does not read it, before reading pauses."""
TEXT = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"21")]


class ASGICall:
    """One request and its reply in the ASGI interface.

    Raises:
        HttpParserInvalidURLError: the URL of the request is invalid.
    """

    def __init__(
        self, app: App, state: dict[str, Any], request: Request, connection: HTTPProtocol
    ) -> None:
        self._app = app
        self._request = request
        self._connection = connection
        self._scope = _scope(request.head, connection.transport, state)
        # All mutable state: the part of the body that the application has not read, whether it is
        # the last part, and whether the application must still be told that; the future that it
        # waits for; the reply, the bytes of its body left to send, and whether it is complete.
        self._body = bytearray()
        self._complete = self._untold = False
        self._continue_expected = request.head.continue_expected
        self._changed: asyncio.Future[None] | None = None
        self._reply: ReplyStream | None = None
        self._left: int | None = None
        self._ended = False
        self._task: asyncio.Task[None] | None = None

    # Called by the connection.

    def receive(self, chunk: bytes | bytearray, complete: bool) -> None:
        """Keep a part of the body. Start the application at the first part."""
        self._body += chunk
        self._complete = self._untold = complete
        if self._task is None:
            self._start()
        if len(self._body) > HIGH_WATER:
            self._connection.hold_body(True)
        self._notify()

    def time_out(self) -> None:
        """Do nothing: applications have their own timeouts for bodies."""

    def disconnect(self) -> None:
        """Wake the application, because the client disconnected."""
        self._notify()

    def stop(self) -> None:
        """Do nothing: the server cancels the remaining tasks."""

    def _start(self) -> None:
        self._task = task = asyncio.get_running_loop().create_task(self._run())
        tasks = self._connection.host.tasks
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def _notify(self) -> None:
        if self._changed is not None:
            if not self._changed.done():
                self._changed.set_result(None)
            self._changed = None

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._next, self._send)
        except BaseException as error:
            what, path = type(error).__name__, self._scope["path"]
            _log.error("the ASGI application failed at %.100s: %s: %s", path, what, error)
            _log.debug("the ASGI application failed", exc_info=error)
            await self._fail()
        else:
            if not self._request.reply_complete:
                _log.error("the ASGI application returned without a complete reply")
                await self._fail()

    async def _fail(self) -> None:
        if self._reply is not None:
            self._reply.abort()
        elif not self._request.reply_complete:
            headers = [*TEXT, (b"connection", b"close")]
            await self._send({"type": "http.response.start", "status": 500, "headers": headers})
            await self._send({"type": "http.response.body", "body": b"Internal Server Error"})

    # Called by the application.

    async def _next(self) -> Message:
        if self._continue_expected:
            self._continue_expected = False
            self._connection.send_continue(self._request)
        if not self._request.reply_complete and not (self._body or self._untold):
            self._connection.hold_body(False)
            # A new future each time: a cancelled task cancels the future that it waits for.
            self._changed = asyncio.get_running_loop().create_future()
            await self._changed
        if self._request.reply_complete:
            return {"type": "http.disconnect"}
        body, self._body, self._untold = bytes(self._body), bytearray(), False
        return {"type": "http.request", "body": body, "more_body": not self._complete}

    async def _send(self, message: Message) -> None:
        if self._request.reply_complete and not self._ended:
            return  # the client disconnected
        if self._reply is None:
            _expect("http.response.start", message)
            self._begin(message)
        else:
            if self._ended:
                raise RuntimeError(f"{message['type']} after the reply was complete")
            _expect("http.response.body", message)
            await self._continue(self._reply, message)

    def _begin(self, message: Message) -> None:
        headers = list(message.get("headers", ()))
        lengths = [value for name, value in headers if name.lower() == b"content-length"]
        if lengths and self._request.head.method != b"HEAD":
            self._left = int(lengths[0])
        self._reply = self._connection.stream(self._request, message["status"], headers)

    async def _continue(self, reply: ReplyStream, message: Message) -> None:
        body, more = message.get("body", b""), message.get("more_body", False)
        if self._left is not None:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                amount = "more" if self._left < 0 else "less"
                raise RuntimeError(f"the reply has {amount} bytes than its Content-Length")
        await reply.write(body)
        if not more:
            self._ended = True
            reply.end()
            self._notify()


def _expect(kind: str, message: Message) -> None:
    if message["type"] != kind:
        raise RuntimeError(f"the ASGI application sent {message['type']!r}, expected {kind!r}")


def _scope(head: Head, transport: Any, state: dict[str, Any]) -> Message:
    url = httptools.parse_url(head.url)
    raw_path = url.path or b"/"  # http://host, with no path, is the root (RFC 9112, 3.2.1)
    path = raw_path.decode("ascii")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": head.version,
        "method": head.method.decode("ascii"),
        "scheme": "http" if transport.get_extra_info("sslcontext") is None else "https",
        "path": unquote(path) if "%" in path else path,
        "raw_path": raw_path,
        "query_string": url.query or b"",
        "root_path": "",
        "headers": list(head.headers),  # the application may change its list; the head is shared
        "client": _address(transport.get_extra_info("peername")),
        "server": _address(transport.get_extra_info("sockname")),
        "state": state.copy(),
    }


def _address(name: Any) -> tuple[str, int] | None:
    """Return host and port; None for an address without these, such as a Unix socket."""
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) and len(name) >= 2 else None
