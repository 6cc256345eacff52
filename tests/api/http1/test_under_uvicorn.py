"""The interface that uvicorn uses; tests/system/test_uvicorn_range.py tests with uvicorn itself."""

import asyncio
from types import SimpleNamespace
from typing import Any

from service.api.http1.asgi_call import ASGICall
from service.api.http1.driver import HTTPProtocol, Route, Shared
from service.api.http1.under_uvicorn import protocol_class
from service.api.transport.traffic import Traffic
from tests.api.http1.loopback import Host
from tests.inprocess import Wire
from tests.system.wire import get


def route(state: dict[str, Any]) -> Route:
    async def app(scope: Any, _: Any, send: Any) -> None:
        body = scope["state"]["said"]
        length = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": body})

    return lambda request, connection: ASGICall(app, state, request, connection)


async def test_uvicorn_creates_and_stops_the_protocol() -> None:
    host = Host()
    made = protocol_class(route, Shared(Traffic(2**20)), patience=1)(
        config=SimpleNamespace(timeout_keep_alive=5),
        server_state=host,
        app_state={"said": b"hello"},
        _loop=asyncio.get_running_loop(),
    )
    assert isinstance(made, HTTPProtocol)
    wire = Wire()
    made.connection_made(wire)
    assert host.connections == {made}
    made.data_received(get("/"))
    assert len(host.tasks) == 1
    await asyncio.gather(*host.tasks)
    assert wire.written.endswith(b"hello") and b"date: today" in wire.written
    assert not wire.closed
    made.shutdown()
    assert wire.closed
    made.connection_lost(None)
    assert not host.connections
