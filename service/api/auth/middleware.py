"""Authentication: a dependency that declares the API key a route requires.

The check runs for the matched route and does not parse the path. A router without a declaration
cannot be included (see ``error_handlers.py``).
"""

import secrets
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from fastapi import Request
from fastapi.security import HTTPBearer

from service.api.auth.policy import Access, Headers, Need
from service.api.transport.answers import Header
from service.api.transport.target import given_id
from service.core.errors import Forbidden, Unauthenticated
from service.core.events import AccessRefused, Actor, Observer


class RequireKey:
    """Dependency of routes that change nothing. Such a route needs no key, or the prediction key if
    one is set."""

    def __init__(self, access: Access, need: Need) -> None:
        self.need = need
        self._access = access

    async def __call__(self, request: Request) -> None:
        """Allow the request, or raise.

        Raises:
            Unauthenticated: the request has no known key.
        """
        self._access.admit(self.need, collect(request.headers.raw))


class RequireAdminKey(HTTPBearer):
    """Dependency of routes that change something. It also adds the requirement to OpenAPI.

    The caller is stored in ``request.state.actor``. A refused caller is reported to the observer.
    """

    need = Need.ADMIN_KEY

    def __init__(self, access: Access, observe: Observer) -> None:
        super().__init__(auto_error=False, scheme_name="Admin key")
        self._access = access
        self._observe = observe

    async def __call__(self, request: Request) -> None:  # type: ignore[override]  # no credentials
        """Allow the request, or raise.

        Raises:
            Unauthenticated, Forbidden: see ``Access.admit``.
        """
        headers = collect(request.headers.raw)
        request.state.actor = actor = _actor(request.client, headers)
        try:
            name = self._access.admit(self.need, headers)
        except (Unauthenticated, Forbidden) as refusal:
            method, path = request.method, request.url.path
            self._observe(AccessRefused(actor, method, path, str(refusal)))
            raise
        request.state.actor = actor._replace(name=name)


Requirement = RequireKey | RequireAdminKey


class Guard(NamedTuple):
    """The requirements that routes choose from."""

    nothing: RequireKey
    api_key: RequireKey
    admin_key: RequireAdminKey

    @classmethod
    def of(cls, access: Access, observe: Observer) -> "Guard":
        """Return the requirements of a server with these keys."""
        return cls(
            RequireKey(access, Need.NOTHING),
            RequireKey(access, Need.API_KEY),
            RequireAdminKey(access, observe),
        )


def lets_predict(access: Access, pairs: Iterable[Header]) -> bool:
    """Return True if a prediction with these headers is allowed."""
    if not access.api.digests:
        return True
    try:
        check_predicts(access, pairs)
    except Unauthenticated:
        return False
    return True


def check_predicts(access: Access, pairs: Iterable[Header]) -> None:
    """Check that a prediction with these headers is allowed.

    Raises:
        Unauthenticated: no known key came.
    """
    access.admit(Need.API_KEY, collect(pairs))


def collect(pairs: Iterable[Header]) -> Headers:
    """Return all values of each header by its name."""
    headers: dict[bytes, list[bytes]] = {}
    for name, value in pairs:
        headers.setdefault(name, []).append(value)
    return headers


def request_id_of(scope: Mapping[str, Any]) -> str | None:
    """Return the id of a request on a route that needs an admin key; None for other requests."""
    actor = scope["state"].get("actor")
    return actor.request_id if isinstance(actor, Actor) else None


def _actor(client: Any, headers: Headers) -> Actor:
    address = client.host if client else "-"
    given = given_id(headers.get(b"x-request-id", [b""])[0])
    return Actor("nobody", address, given.decode() if given else secrets.token_hex(8))
