"""The parts of uvicorn in use: the constructor that its ``Config(http=...)`` is called with, and
three attributes of its server state (see ``Host``). uvicorn calls ``shutdown``."""

from collections.abc import Callable
from typing import Any

from service.api.http1.connection import Limits
from service.api.http1.driver import Host, HTTPProtocol, Route, Shared
from service.api.transport.body import LINGER

ProtocolClass = Callable[..., HTTPProtocol]
MakeRoute = Callable[[dict[str, Any]], Route]
"""Gives the route of a connection, from the state that the lifespan of the application left."""


def protocol_class(make_route: MakeRoute, shared: Shared, patience: float) -> ProtocolClass:
    """For ``uvicorn.Config(http=...)``.

    ``patience`` is the timeout in seconds for a request head, for a client that reads nothing of a
    reply, and for a reply to a client that has shut down its sending side.
    """

    def make(
        *, config: Any, server_state: Host, app_state: dict[str, Any], **_: Any
    ) -> HTTPProtocol:
        limits = Limits(patience, config.timeout_keep_alive, LINGER, patience)
        return HTTPProtocol(make_route(app_state), shared, limits, server_state)

    return make
