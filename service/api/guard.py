"""The door: a bare ASGI callable that lets a request in, or answers why not.

It stands before the control plane, and before the data plane too where predictions need a key;
where they need none, it is not in their way at all.
"""

import secrets
from collections.abc import Iterable, MutableMapping
from typing import Any

from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer

from service.api.answers import Header
from service.api.body import Receive
from service.api.errors import status_of
from service.api.infer import App, Send
from service.api.keys import Access, Headers, Need, need_of
from service.api.refusal import Refusal
from service.core.errors import Forbidden, Unauthenticated
from service.core.events import AccessRefused, Actor, Observer

ADMIN_KEY = HTTPBearer(auto_error=False, scheme_name="Admin key")
"""For the dependencies of routes that need one: it tells OpenAPI so; this guard does the rest."""
SMALL_BODY = 2**16
"""A body up to this size is read and thrown away after a refusal; for more, the line is cut."""


class Guard:
    """Lets requests in by their keys; who asks for a change goes along as ``state.actor``."""

    def __init__(self, app: App, access: Access, observe: Observer) -> None:
        self._app = app
        self._access = access
        self._observe = observe

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        need, headers = need_of(scope["method"], scope["path"]), _collect(scope["headers"])
        if need is Need.ADMIN_KEY:
            await self._change(scope, headers, receive, send)
            return
        try:
            self._access.admit(need, headers)
        except (Unauthenticated, Forbidden) as refusal:
            await _answer(refusal, headers)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _change(
        self, scope: MutableMapping[str, Any], headers: Headers, receive: Receive, send: Send
    ) -> None:
        """A request that may change something: it is known by whom, and by an id of its own."""
        actor = _actor(scope, headers)
        send = _with_id(send, actor.request_id)
        try:
            actor = actor._replace(name=self._access.admit(Need.ADMIN_KEY, headers))
        except (Unauthenticated, Forbidden) as refusal:
            text = str(refusal)
            self._observe(AccessRefused(actor, scope["method"], scope["path"], text))
            await _answer(refusal, headers)(scope, receive, send)
        else:
            scope.setdefault("state", {})["actor"] = actor
            await self._app(scope, receive, send)


def lets_predict(access: Access, pairs: Iterable[Header]) -> bool:
    """Whether a prediction with these headers is let in."""
    if not access.api.digests:
        return True
    try:
        access.admit(Need.API_KEY, _collect(pairs))
    except (Unauthenticated, Forbidden):
        return False
    return True


def _collect(pairs: Iterable[Header]) -> Headers:
    headers: dict[bytes, list[bytes]] = {}
    for name, value in pairs:
        headers.setdefault(name, []).append(value)
    return headers


def _actor(scope: MutableMapping[str, Any], headers: Headers) -> Actor:
    address = scope["client"][0] if scope.get("client") else "-"
    given = headers.get(b"x-request-id", [b""])[0]
    if given and len(given) <= 128 and given.isascii():
        return Actor("nobody", address, given.decode())
    return Actor("nobody", address, secrets.token_hex(8))


def _with_id(send: Send, request_id: str) -> Send:
    async def send_with_id(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            pair = (b"x-request-id", request_id.encode())
            message = {**message, "headers": [*message.get("headers", ()), pair]}
        await send(message)

    return send_with_id


def _answer(refusal: Unauthenticated | Forbidden, headers: Headers) -> JSONResponse:
    more = {}
    if isinstance(refusal, Unauthenticated):
        more["www-authenticate"] = 'Bearer realm="quantserve"'
    length = headers.get(b"content-length", [b"0"])[0]
    if b"transfer-encoding" in headers or not length.isdigit() or int(length) > SMALL_BODY:
        return Refusal(str(refusal), status_of(refusal), more)
    return JSONResponse({"error": str(refusal)}, status_of(refusal), more)
