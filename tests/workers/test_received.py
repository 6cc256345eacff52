"""The worker of one model restores the client's address, and separates messages of gRPC."""

from typing import Any

import pytest

from service.workers.received import Received

CALLED: list[tuple[str, Any]] = []


async def app(scope: Any, *_: Any) -> None:
    CALLED.append(("app", scope.get("client")))


async def message(scope: Any, *_: Any) -> None:
    CALLED.append(("message", dict(scope["headers"])))


@pytest.mark.parametrize(
    "header, client",
    [(b"127.0.0.1 80", ("127.0.0.1", 80)), (b"::1 5", ("::1", 5)), (None, None)],
)
async def test_the_address_of_the_client_is_restored(header: bytes | None, client: Any) -> None:
    CALLED.clear()
    headers = [(b"x-quantserve-client", header)] if header else []
    await Received(app, message)({"type": "http", "headers": headers}, None, None)  # type: ignore[arg-type]
    assert [("app", client)] == CALLED


async def test_messages_of_grpc_are_answered_if_its_port_is_open() -> None:
    CALLED.clear()
    scope: Any = {"type": "http", "headers": [(b"x-quantserve-grpc-seconds", b"")]}
    await Received(app, message)(scope, None, None)  # type: ignore[arg-type]
    await Received(app, None)(scope, None, None)  # type: ignore[arg-type]
    await Received(app, message)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert [kind for kind, _ in CALLED] == ["message", "app", "app"]
