"""The parts of uvicorn in use: the option ``Config(http=...)``, a constructor of protocols, and
three attributes of uvicorn's server state (see ``Host``). uvicorn calls ``shutdown``."""

from collections.abc import Callable
from typing import Any

from service.api.http1.connection import HALF_CLOSE_SECONDS, Limits
from service.api.http1.driver import Host, HTTPProtocol, Route, Shared
from service.api.transport.body import LINGER

ProtocolClass = Callable[..., HTTPProtocol]
MakeRoute = Callable[[dict[str, Any]], Route]
"""Returns the route of a connection, for the state that the application's lifespan has set."""


def protocol_class(
    make_route: MakeRoute,
    shared: Shared,
    patience: float,
    half_close: float = HALF_CLOSE_SECONDS,
) -> ProtocolClass:
    """Return the value for ``uvicorn.Config(http=...)``.

    ``patience`` is the timeout in seconds for a request head, for a client that reads nothing of a
    reply, and for a reply to a client that has shut down its sending side. ``half_close``: see
    ``Limits``.
    """

    def make(
        *, config: Any, server_state: Host, app_state: dict[str, Any], **_: Any
    ) -> HTTPProtocol:
        limits = Limits(patience, config.timeout_keep_alive, LINGER, patience, half_close)
        return HTTPProtocol(make_route(app_state), shared, limits, server_state)

    return make
